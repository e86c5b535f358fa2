# SPDX-License-Identifier: Apache-2.0
"""The dm-verity hash tree of a weights pack: where its levels lie, and the hashing of its blocks.

Follows Linux, Documentation/admin-guide/device-mapper/verity.rst: format 1, SHA-256, blocks of 4096 bytes,
no superblock. A tree is hashed level by level, so that any number of processes can share a level and none has
to hold it. Blocks are verified from the root hash on down, as the kernel does it. It opens no file; what it
verifies comes from the caller's `read`.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

BLOCK = 4096
_DIGEST = 32
# Digests that fit a hash block.
FANOUT = BLOCK // _DIGEST


Read = Callable[[int, int], bytes | bytearray]
"""Read so many blocks (second) from a block (first) of data and tree, the tree behind the data."""


class DamagedBlockError(Exception):
    """A block that the root hash does not vouch for: its number, what its parent says, what it has."""

    def __init__(self, block: int, expected: str, found: str) -> None:
        """Take the block's number, counted from the first of the data, and both digests in hexadecimal."""
        super().__init__(block, expected, found)
        self.block = block
        self.expected = expected
        self.found = found


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """What names a tree: root hash, salt, and the number of data blocks, right behind which it lies."""

    root_hash: bytes
    salt: bytes
    data_blocks: int


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


def verified(read: Read, tree: Tree, *, first: int, count: int) -> bytearray:
    """Read blocks of data or tree, each verified up to the root hash before it is returned.

    first: counted from the first block of the data. Nothing that is below a damaged block is read.
    Raises DamagedBlockError at the first block that its parent does not vouch for.
    """
    result = bytearray()
    # The data and then every level, by their place: what is asked for may reach over several.
    rows = [(0, 0, tree.data_blocks)]
    rows += [
        (depth, tree.data_blocks + level.first, level.blocks)
        for depth, level in enumerate(levels(tree.data_blocks), 1)
    ]
    for depth, start, blocks in sorted(rows, key=lambda row: row[1]):
        low, high = max(first, start), min(first + count, start + blocks)
        if low < high:
            result += _of_level(read, tree, depth, first=low - start, count=high - low)
    if len(result) != count * BLOCK:
        raise ValueError(f"blocks {first} to {first + count - 1} are not all in data and tree")
    return result


def _of_level(read: Read, tree: Tree, depth: int, *, first: int, count: int) -> bytes | bytearray:
    """Read blocks of one level, 0 being the data, verified; first: counted from the first of that level."""
    above = levels(tree.data_blocks)
    place = tree.data_blocks + above[depth - 1].first if depth else 0
    if depth == len(above):
        expected = tree.root_hash
    else:
        low, high = first // FANOUT, (first + count - 1) // FANOUT
        parents = _of_level(read, tree, depth + 1, first=low, count=high - low + 1)
        expected = bytes(parents[(first - low * FANOUT) * _DIGEST :][: count * _DIGEST])
    content = read(place + first, count)
    found = digests(content, salt=tree.salt)
    if found != expected:
        for index in range(count):
            here = slice(index * _DIGEST, (index + 1) * _DIGEST)
            if found[here] != expected[here]:
                raise DamagedBlockError(place + first + index, expected[here].hex(), found[here].hex())
    return content
