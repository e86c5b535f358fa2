# SPDX-License-Identifier: Apache-2.0
"""Take the files out of a weights pack's disk body.

The file system is read through verified blocks only, its metadata too, so that nothing of it is parsed
before it is known to be the owner's. So are the files that an interrupted run left: what the root hash does
not vouch for is written again.
"""

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path

from mantlet.edge import extraction, output
from mantlet.edge.chunks import CHUNK, SLICE, Chunk, Piece, cut, in_order, read_into
from mantlet.edge.pack_open import Body, body_of, check_frame, refusing
from mantlet.weights import extents
from mantlet.weights.descriptor import Descriptor
from mantlet.weights.extents import Extent
from mantlet.weights.pack import SECTOR
from mantlet_measure.deployment import FILE_PATTERN
from mantlet_measure.errors import DecodeError, shown


def extract(
    image: Path, descriptor: Descriptor, directory: Path, *, data_key: bytes, executor: Executor
) -> tuple[Path, ...]:
    """Write the model's files into `directory` and return them. DecodeError, and then none of them is there.

    A file of the same name is replaced. An interrupted run is gone on with. UnavailableError when there is no
    room for all of them.
    """
    model = descriptor.model
    body = body_of(image, descriptor, data_key)
    check_frame(image, descriptor)
    with refusing(image):
        found = extents.find(partial(_read, body, model.hash_offset), size=model.hash_offset)
        check_names(found)
        sizes = {extent.name: extent.size for extent in found}
        with extraction.begun(directory, model.id, sizes) as place:
            pieces = tuple(
                Piece(path=place.folder / extent.name, start=extent.start, size=extent.size)
                for extent in found
            )
            left, size = extraction.left_to_do(
                place,
                lambda: _parts(pieces, model.hash_offset),
                partial(_is_whole, body),
                total=sum(chunk.size for chunk in _parts(pieces, model.hash_offset)),
                executor=executor,
            )
            with output.progress("Extracting", size) as advance:
                for chunk, _ in in_order(executor, partial(_write_chunk, body), left):
                    advance(chunk.size)
    return tuple(directory / extent.name for extent in sorted(found, key=lambda extent: extent.name))


def _read(body: Body, limit: int, start: int, size: int) -> bytes:
    """Read metadata; what it says of itself may point anywhere."""
    if size and start + size > limit:
        raise DecodeError(
            "file system of the pack", expected=f"metadata up to byte {limit}", found=f"up to {start + size}"
        )
    return body.verified(start, size) if size else b""


def check_names(found: Sequence[Extent]) -> None:
    """Refuse names that would leave the directory, or meet in it."""
    seen = set[str]()
    for name in (extent.name for extent in found):
        if re.fullmatch(FILE_PATTERN, name) is None or name in seen:
            raise DecodeError(
                "file system of the pack",
                expected=f"names like {FILE_PATTERN}, each once",
                found=shown(name),
                hint="ask the model's owner for another pack: `mantlet weights pack` makes none like this",
            )
        seen.add(name)


def _parts(pieces: Sequence[Piece], size: int) -> Iterator[Chunk]:
    """Cut a file system of so many bytes into chunks that files reach into."""
    return (chunk for chunk in cut(0, size, pieces, CHUNK) if chunk.pieces)


def _within(piece: Piece, chunk: Chunk) -> tuple[int, int]:
    """Return where the part of a piece that is in a chunk starts, and its bytes."""
    start = max(piece.start, chunk.start)
    return start, min(piece.start + piece.size, chunk.start + chunk.size) - start


def _write_chunk(body: Body, chunk: Chunk) -> None:
    for piece in chunk.pieces:
        start, size = _within(piece, chunk)
        with piece.path.open("r+b") as file:
            file.seek(start - piece.start)
            file.write(body.verified(start, size))


def _is_whole(body: Body, chunk: Chunk) -> bool:
    """Say whether the files have of a chunk what the root hash vouches for."""
    # By slices: of what was never written, the first says so.
    for part in cut(chunk.start, chunk.size, chunk.pieces, SLICE):
        for piece in part.pieces:
            start, size = _within(piece, part)
            if not body.holds(partial(_blocks, piece), start, size):
                return False
    return True


def _blocks(piece: Piece, first: int, count: int) -> bytearray:
    """Read whole blocks of the file system from a file; what lies behind its last byte is zero."""
    blocks = bytearray(count * SECTOR)
    start = first * SECTOR - piece.start
    size = min(len(blocks), piece.size - start)
    with piece.path.open("rb", buffering=0) as file:
        read_into(memoryview(blocks)[:size], file.fileno(), start, what=str(piece.path))
    return blocks
