# SPDX-License-Identifier: Apache-2.0
"""Where the files of a pack come out: a place beside their names, and what an interrupted run left in it.

There is no journal: what an earlier run left is held against the pack, part by part, and what does not verify
is written again, be it torn, altered or of another pack. How a part is verified and written is the matter of
`pack_extract` and `stream_extract`. No file has its final name before all have all of their bytes.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import TypeVar

from mantlet.edge import files, output, pack_files
from mantlet.edge.chunks import Range, in_order
from mantlet_measure.errors import UnavailableError

_ENDING = "extracting"
# What `stat` counts a file's room in.
_ROOM_UNIT = 512

_Part = TypeVar("_Part", bound=Range)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A folder with all of the files in their full size; resumed: whether an earlier run has been here."""

    folder: Path
    resumed: bool


@contextmanager
def begun(
    directory: Path, model_id: str, sizes: Mapping[str, int], *, beside: str | None = None
) -> Iterator[Place]:
    """Lend the place where files of these names and sizes are filled; they get their names in the end.

    beside: a name that no file can have, of notes about them that stay for a later run. A file of the same
    name is replaced. What is there stays when the work is interrupted or its source goes away, and goes when
    it fails. UnavailableError when there is no room for all of them, or another run is at it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    total = sum(sizes.values())
    found = shutil.disk_usage(directory).free + _taken(directory / f".{model_id}.{_ENDING}", sizes)
    if found < total:
        raise UnavailableError(
            f"{directory}: expected {total:,} bytes of room for the files, found {found:,}",
            hint="make room there, or choose another file system with --output DIR",
        )
    with pack_files.workspace(directory, model_id, ending=_ENDING) as folder:
        left = tuple(folder.iterdir())
        for path in left:
            # A link would lead out of the folder; what is of another pack takes room.
            if path.is_symlink() or path.name not in {*sizes, beside}:
                path.unlink()
        for name, size in sizes.items():
            with (folder / name).open("ab") as file:
                file.truncate(size)
        yield Place(folder=folder, resumed=bool(left))
        for name in sizes:
            files.sync(folder / name)
        for name in sizes:
            (folder / name).replace(directory / name)


def left_to_do(
    place: Place,
    parts: Callable[[], Iterable[_Part]],
    is_whole: Callable[[_Part], bool],
    *,
    total: int,
    executor: Executor,
) -> tuple[Iterable[_Part], int]:
    """Return which parts have to be written, and how many bytes they are.

    parts: gives all of them, `total` bytes, and the same ones each time. is_whole: says whether what the
    place has of one verifies.
    """
    if not place.resumed:
        return parts(), total
    missing, kept = bytearray(), 0
    with output.progress("Checking what is there", total) as advance:
        for part, whole in in_order(executor, is_whole, parts()):
            missing.append(not whole)
            kept += whole * part.size
            advance(part.size)
    if kept:
        output.step(f"Going on where an earlier run stopped: {kept:,} bytes of {total:,} verify…")
    return compress(parts(), missing), total - kept


def _taken(folder: Path, sizes: Mapping[str, int]) -> int:
    """The room that files of these names take in a folder already."""
    taken = 0
    for name in sizes:
        try:
            taken += os.lstat(folder / name).st_blocks * _ROOM_UNIT
        except FileNotFoundError:
            continue
    return taken
