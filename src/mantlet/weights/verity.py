# SPDX-License-Identifier: Apache-2.0
"""The dm-verity hash tree of a weights pack: where its levels lie, and the hashing of its blocks.

Follows Linux, Documentation/admin-guide/device-mapper/verity.rst: format 1, SHA-256, blocks of 4096 bytes,
no superblock. A tree is hashed level by level, so that any number of processes can share a level and none has
to hold it; it opens no file, and the salt and the place of the tree are its caller's.
"""

import hashlib
from dataclasses import dataclass

BLOCK = 4096
_DIGEST = 32
# Digests that fit a hash block.
FANOUT = BLOCK // _DIGEST


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A level of a tree: its first block, counted from the first of the tree, and how many blocks it has."""

    first: int
    blocks: int


def levels(data_blocks: int) -> tuple[Level, ...]:
    """Lay out the tree over at least one block, from the level over the data to the one of a single block.

    On disk they lie the other way round, the single block first. One block of data has a tree of no level.
    """
    if data_blocks < 1:
        raise ValueError(f"{data_blocks} blocks have no hash tree")
    sizes = []
    below = data_blocks
    while below > 1:
        below = -(-below // FANOUT)
        sizes.append(below)
    return tuple(Level(first=sum(sizes[index + 1 :]), blocks=size) for index, size in enumerate(sizes))


def digests(blocks: bytes | bytearray, *, salt: bytes) -> bytes:
    """Hash whole blocks: 32 bytes for each, in their order."""
    view = memoryview(blocks)
    if len(view) % BLOCK:
        raise ValueError(f"{len(view)} bytes are no whole number of blocks")
    # "In format 1 the salt comes before the data": it is hashed once and the state copied for each block.
    salted = hashlib.sha256(salt)
    found = []
    for start in range(0, len(view), BLOCK):
        state = salted.copy()
        state.update(view[start : start + BLOCK])
        found.append(state.digest())
    return b"".join(found)


def hash_blocks(blocks: bytes | bytearray, *, salt: bytes) -> bytes:
    """Hash whole blocks into the hash blocks above them; the last one is filled up with zeros.

    The parts of a level may be hashed apart if each part but the last is a multiple of 128 blocks.
    """
    found = digests(blocks, salt=salt)
    return found + bytes(-len(found) % BLOCK)
