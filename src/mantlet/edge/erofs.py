# SPDX-License-Identifier: Apache-2.0
"""Write files into an erofs image that depends on their names and bytes alone.

`mkfs.erofs` reads a tar stream from a named pipe: the headers made here give every file the same owner, mode
and time, whatever they are on this machine, and the data goes from file to pipe inside the kernel without a
copy on disk. What may enter, and what becomes of the image, is decided by the caller.
"""

import os
import tarfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mantlet.edge import process
from mantlet.edge.tools import ToolsTree
from mantlet_measure.errors import UnavailableError

_CHUNK = 8 << 20
_BLOCK = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file to enter the image: its name there, where it is here, its size in bytes."""

    name: str
    path: Path
    size: int


def write(
    sources: Sequence[Source],
    image: Path,
    *,
    uuid: str,
    tools: ToolsTree,
    advance: Callable[[int], None],
) -> int:
    """Write `sources` into the root directory of a new erofs image, uncompressed; return its size in bytes.

    image: a path in a directory that the tools may write to. advance: called with each number of bytes taken.
    Raises UnavailableError when a file changes meanwhile, ProcessError when mkfs.erofs fails.
    """
    pipe = image.with_suffix(".tar")
    os.mkfifo(pipe, 0o600)
    argv = [
        "mkfs.erofs", "--quiet", "-d0", f"-b{_BLOCK}", "-T0", f"-U{uuid}", "-x-1",
        # Tails in blocks of their own: no file of ours is then smaller than the two blocks that dm-verity
        # needs.
        "-Enoinline_data",
        # In the order of the stream, so that nothing is buffered on disk.
        "--tar=f", "--sort=none",
        str(image), str(pipe),
    ]  # fmt: skip
    try:
        with ThreadPoolExecutor(max_workers=1) as feeder:
            feeding = feeder.submit(_feed, pipe, sources, advance)
            try:
                process.run(tools.command(argv, rw=[image.parent]))
            finally:
                _release(pipe)
            feeding.result()
    finally:
        pipe.unlink()
    return image.stat().st_size


def _feed(pipe: Path, sources: Sequence[Source], advance: Callable[[int], None]) -> None:
    """Write the tar stream of `sources` into the pipe, which mkfs.erofs reads."""
    with pipe.open("wb", buffering=0) as stream:
        stream.write(_header(".", 0, directory=True))
        for source in sources:
            stream.write(_header(source.name, source.size, directory=False))
            with source.path.open("rb") as file:
                sent = 0
                while sent < source.size:
                    count = os.sendfile(stream.fileno(), file.fileno(), sent, min(_CHUNK, source.size - sent))
                    if count == 0:
                        raise UnavailableError(
                            f"{source.path}: expected {source.size} bytes, found {sent}: it shrank meanwhile",
                            hint="pack it again when nothing writes to it",
                        )
                    sent += count
                    advance(count)
            stream.write(bytes(-source.size % tarfile.BLOCKSIZE))
        stream.write(bytes(2 * tarfile.BLOCKSIZE))


def _release(pipe: Path) -> None:
    """Let the feeder go if mkfs.erofs never opened the pipe: its write fails when this reader leaves."""
    os.close(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK))


def _header(name: str, size: int, *, directory: bool) -> bytes:
    """Return the tar header of a file: of root, readable by all, from 1970."""
    entry = tarfile.TarInfo(name)
    entry.type = tarfile.DIRTYPE if directory else tarfile.REGTYPE
    entry.mode = 0o555 if directory else 0o444
    entry.size = size
    return entry.tobuf(tarfile.GNU_FORMAT)
