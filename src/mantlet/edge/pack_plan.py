# SPDX-License-Identifier: Apache-2.0
"""The plaintext of a pack, planned and named by its root hash, without being written.

The model's data stays in its files, which are read where they are. What else the plaintext has, the metadata
of the file system and the hash tree, is in one file with holes for the data. `mantlet.weights` says where
everything lies and how blocks are hashed; what becomes of the plaintext is decided by the caller.
"""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mantlet.edge import erofs, output
from mantlet.edge.chunks import CHUNK, SLICE, Chunk, Piece, content, cut, in_order
from mantlet.edge.erofs import Source
from mantlet.edge.tools import ToolsTree
from mantlet.weights import pack as layout
from mantlet.weights import verity
from mantlet.weights.pack import Layout
from mantlet_measure.deployment import Model
from mantlet_measure.errors import UnavailableError


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What documents call a model: its name, its version, and the epoch that can be withdrawn."""

    id: str
    version: str
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The plaintext of `model`: `pieces` from the model's files, by place, and all else from `rest`."""

    model: Model
    rest: Path
    pieces: tuple[Piece, ...]


def new(
    sources: Sequence[Source], rest: Path, *, label: Label, file: str, tools: ToolsTree, executor: Executor
) -> Plan:
    """Lay the files out and hash them.

    rest: a new file in a directory that the tools may write to; file: the one that the runtime opens.
    Raises EOFError when a file is shorter than it was, ProcessError when mkfs.erofs fails.
    """
    output.step(f"Laying out {len(sources)} {'files' if len(sources) > 1 else 'file'} in erofs…")
    erofs.write(sources, rest, uuid=layout.filesystem_uuid(label.id), tools=tools)
    parts, salt = layout.layout(rest.stat().st_size), layout.salt(label.id)
    pieces = _pieces(sources, rest, size=parts.hash_offset)
    output.step("Hashing it into a dm-verity tree…")
    model = Model(
        id=label.id,
        version=label.version,
        epoch=label.epoch,
        file=file,
        root_hash=hash_tree(rest, parts, pieces, salt=salt, executor=executor),
        salt=salt,
        data_blocks=parts.data_blocks,
        hash_offset=parts.hash_offset,
        size=parts.size,
    )
    return Plan(model=model, rest=rest, pieces=pieces)


def again(sources: Sequence[Source], rest: Path, *, model: Model) -> Plan:
    """Return the plan that `new` made in an earlier run; `rest` is what it left, of unchanged files."""
    return Plan(model=model, rest=rest, pieces=_pieces(sources, rest, size=model.hash_offset))


def hash_tree(
    rest: Path, parts: Layout, pieces: Sequence[Piece], *, salt: bytes, executor: Executor
) -> bytes:
    """Write the hash tree behind the file system in `rest`, and return the root hash.

    rest: holds the file system but for `pieces`, which are sorted by their place. executor: from `workers`.
    Raises EOFError when a file is shorter than it was.
    """
    below, size = 0, parts.hash_offset
    with output.progress("Hashing", parts.size) as advance:
        for level in verity.levels(parts.data_blocks):
            start = parts.hash_offset + level.first * verity.BLOCK
            os.truncate(rest, max(rest.stat().st_size, start + level.blocks * verity.BLOCK))
            work = partial(_hash_chunk, rest, salt, below, start)
            for chunk, _ in in_order(executor, work, cut(below, size, pieces, CHUNK)):
                advance(chunk.size)
            below, size = start, level.blocks * verity.BLOCK
    with rest.open("rb") as file:
        return verity.digests(content(file.fileno(), next(cut(below, size, pieces, SLICE))), salt=salt)


def marks(sources: Sequence[Source]) -> bytes:
    """Return 32 bytes that change with the files or their names. OSError when one is gone."""
    found = []
    for source in sources:
        mark = source.path.stat()
        times = (mark.st_mtime_ns, mark.st_ctime_ns)
        found.append((source.name, mark.st_dev, mark.st_ino, mark.st_size, times))
    return hashlib.sha256(repr(found).encode()).digest()


def check_unchanged(sources: Sequence[Source], before: bytes) -> None:
    """Refuse files that changed since they had these marks: they are read twice, to hash and to encrypt."""
    if marks(sources) != before:
        raise UnavailableError(
            f"{sources[0].path.parent}: expected the files that were hashed, found one changed meanwhile",
            hint="pack it again when nothing writes to it",
        )


def _pieces(sources: Sequence[Source], rest: Path, *, size: int) -> tuple[Piece, ...]:
    places = erofs.places(sources, rest, size=size)
    return tuple(Piece(path=source.path, start=extent.start, size=extent.size) for source, extent in places)


def _hash_chunk(rest: Path, salt: bytes, below: int, level: int, chunk: Chunk) -> None:
    """Hash a chunk of what starts at `below` into the level that starts at `level`."""
    with rest.open("r+b") as file:
        file.seek(level + (chunk.start - below) // verity.FANOUT)
        for part in cut(chunk.start, chunk.size, chunk.pieces, SLICE):
            file.write(verity.hash_blocks(content(file.fileno(), part), salt=salt))
