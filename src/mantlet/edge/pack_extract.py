# SPDX-License-Identifier: Apache-2.0
"""Take the files out of a weights pack's disk body.

The file system is read through verified blocks only, its metadata too, so that nothing of it is parsed
before it is known to be the owner's. No file has its final name before all have all of their bytes.
"""

import os
import re
import shutil
from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path

from mantlet.edge import output
from mantlet.edge.chunks import CHUNK, Chunk, cut, in_order
from mantlet.edge.pack_open import Body, body_of, check_frame, refusing
from mantlet.weights import extents
from mantlet.weights.descriptor import Descriptor
from mantlet.weights.extents import Extent
from mantlet_measure.deployment import FILE_PATTERN
from mantlet_measure.errors import DecodeError, UnavailableError, shown


def extract(
    image: Path, descriptor: Descriptor, directory: Path, *, data_key: bytes, executor: Executor
) -> tuple[Path, ...]:
    """Write the model's files into `directory` and return them. DecodeError, and then none of them is there.

    A file of the same name is replaced. UnavailableError when there is no room for all of them.
    """
    model = descriptor.model
    body = body_of(image, descriptor, data_key)
    check_frame(image, descriptor)
    with refusing(image):
        found = extents.find(partial(_read, body, model.hash_offset), size=model.hash_offset)
        check_names(found)
        directory.mkdir(parents=True, exist_ok=True)
        total = sum(extent.size for extent in found)
        if (free := shutil.disk_usage(directory).free) < total:
            raise UnavailableError(
                f"{directory}: expected {total:,} bytes of room for the files, found {free:,}",
                hint="make room there, or choose another file system with --output DIR",
            )
        partial_folder = directory / f".{model.id}.extracting"
        shutil.rmtree(partial_folder, ignore_errors=True)
        partial_folder.mkdir()
        try:
            with output.progress("Extracting", total) as advance:
                for extent in found:
                    target = partial_folder / extent.name
                    work = partial(_write_chunk, body, target, extent)
                    target.touch()
                    for chunk, _ in in_order(executor, work, cut(extent.start, extent.size, (), CHUNK)):
                        advance(chunk.size)
                    with target.open("rb") as file:
                        os.fsync(file.fileno())
            for extent in found:
                (partial_folder / extent.name).replace(directory / extent.name)
        finally:
            shutil.rmtree(partial_folder)
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


def _write_chunk(body: Body, target: Path, extent: Extent, chunk: Chunk) -> None:
    with target.open("r+b") as file:
        file.seek(chunk.start - extent.start)
        file.write(body.verified(chunk.start, chunk.size))
