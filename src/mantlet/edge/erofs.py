# SPDX-License-Identifier: Apache-2.0
"""Write an erofs image that depends on its files' names and bytes alone, all of it but those bytes.

`mkfs.erofs` reads a tar whose headers give every file the same owner, mode and time, whatever they are on
this machine. The files' data is left out of both: the tar has holes there, the image keeps their room, and
who wants the data reads it from the files. What may enter, and what becomes of the image, is decided by the
caller.
"""

import os
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mantlet.edge import process
from mantlet.edge.tools import ToolsTree
from mantlet.weights import extents
from mantlet.weights.extents import Extent
from mantlet_measure.errors import DecodeError

_BLOCK = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file to enter the image: its name there, where it is here, its size in bytes."""

    name: str
    path: Path
    size: int


def write(sources: Sequence[Source], image: Path, *, uuid: str, tools: ToolsTree) -> None:
    """Write an uncompressed erofs image with `sources` in its root directory, with holes for their data.

    image: a new file in a directory that the tools may write to. Raises ProcessError when mkfs.erofs fails.
    """
    # The tools run elsewhere than we do.
    image = image.absolute()
    archive = image.with_suffix(".tar")
    argv = [
        "mkfs.erofs", "--quiet", "-d0", f"-b{_BLOCK}", "-T0", f"-U{uuid}", "-x-1",
        # Tails in blocks of their own: no file of ours is then smaller than the two blocks that dm-verity
        # needs, and each is one run of blocks.
        "-Enoinline_data",
        # Room reserved for the data instead of a copy of it.
        "--tar=f", "--sort=none", "--clean=rvsp",
        str(image), str(archive),
    ]  # fmt: skip
    _write_headers(sources, archive)
    try:
        process.run(tools.command(argv, rw=[image.parent]))
    finally:
        archive.unlink()


def places(sources: Sequence[Source], image: Path, *, size: int) -> tuple[tuple[Source, Extent], ...]:
    """Return each file with its place in the image of `size` bytes that `write` made, by place.

    Raises DecodeError when the image is not what was asked for.
    """
    with image.open("rb") as file:
        found = extents.find(lambda start, count: os.pread(file.fileno(), count, start), size=size)
    return _matched(sources, found)


def _write_headers(sources: Sequence[Source], archive: Path) -> None:
    """Write the tar of `sources` without their data, which takes no room on disk."""
    with archive.open("xb") as file:
        file.write(_header(".", 0, directory=True))
        for source in sources:
            file.write(_header(source.name, source.size, directory=False))
            file.seek(source.size + -source.size % tarfile.BLOCKSIZE, os.SEEK_CUR)
        file.write(bytes(2 * tarfile.BLOCKSIZE))


def _header(name: str, size: int, *, directory: bool) -> bytes:
    """Return the tar header of a file: of root, readable by all, from 1970."""
    entry = tarfile.TarInfo(name)
    entry.type = tarfile.DIRTYPE if directory else tarfile.REGTYPE
    entry.mode = 0o555 if directory else 0o444
    entry.size = size
    return entry.tobuf(tarfile.GNU_FORMAT)


def _matched(sources: Sequence[Source], found: Sequence[Extent]) -> tuple[tuple[Source, Extent], ...]:
    """Pair the files with their places; all of them and nothing else is in the image."""
    expected = sorted((source.name, source.size) for source in sources)
    if sorted((extent.name, extent.size) for extent in found) != expected:
        raise DecodeError(
            "erofs image of mkfs.erofs",
            expected=f"{len(sources)} files of {sum(source.size for source in sources):,} bytes",
            found=f"{len(found)} of {sum(extent.size for extent in found):,}",
            hint="run `mantlet tools make`: this version of erofs-utils writes its images in another way",
        )
    by_name = {source.name: source for source in sources}
    return tuple((by_name[extent.name], extent) for extent in found)
