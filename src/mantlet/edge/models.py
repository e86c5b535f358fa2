# SPDX-License-Identifier: Apache-2.0
"""Look at the files of a model before they are packed: what they are, how large, whether readable.

Owns the refusals of bad input: no GGUF, empty, unreadable, a directory inside a directory, a name that the
deployment document could not carry. It does not look into a model beyond its first four bytes.
"""

import re
import stat
from pathlib import Path

from mantlet.edge.erofs import Source
from mantlet.weights.pack import GGUF_MAGIC
from mantlet_measure.deployment import FILE_PATTERN
from mantlet_measure.errors import DecodeError, UnavailableError, shown


def inspect(path: Path, *, file: str | None) -> tuple[tuple[Source, ...], str]:
    """Return the files to pack, sorted by name, and the name of the one that the runtime opens.

    path: a GGUF, or a directory of files. file: that name, when it is not the first GGUF's.
    Raises DecodeError on what cannot be a model, UnavailableError on what cannot be read.
    """
    if path.is_dir():
        sources = tuple(_source(entry) for entry in sorted(_entries(path)))
        names = [source.name for source in sources]
        first = file or next((name for name in names if name.endswith(".gguf")), None)
        if first is None or first not in names:
            raise DecodeError(
                f"model directory {path}",
                expected=f"a file named {file}" if file else "a file named *.gguf",
                found=", ".join(names[:8]) or "no file at all",
                hint="name the file that the runtime opens with --file NAME",
            )
    else:
        sources = (_source(path),)
        first = sources[0].name
        if file not in (None, first):
            raise DecodeError(
                "--file", expected=first, found=str(file), hint="leave --file out for a single model"
            )
    if first.endswith(".gguf") or len(sources) == 1:
        _check_magic(next(source for source in sources if source.name == first).path)
    return sources, first


def _entries(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError as failure:
        raise _unreadable(directory, failure) from None


def _source(path: Path) -> Source:
    if re.fullmatch(FILE_PATTERN, path.name) is None:
        raise DecodeError(
            f"model {path}",
            expected=f"a file name like {FILE_PATTERN}",
            found=shown(path.name),
            hint="rename the file: the name goes into the deployment document",
        )
    try:
        # A link is followed: model caches keep the files elsewhere, under their digests.
        status = path.stat()
    except OSError as failure:
        raise _unreadable(path, failure) from None
    if not stat.S_ISREG(status.st_mode) or status.st_size == 0:
        raise DecodeError(
            f"model {path}",
            expected="a file that is not empty",
            found="an empty file" if stat.S_ISREG(status.st_mode) else "a directory or a device",
            hint="give a GGUF, or a directory that holds the model's files and nothing else",
        )
    return Source(name=path.name, path=path, size=status.st_size)


def _check_magic(path: Path) -> None:
    try:
        with path.open("rb") as file:
            magic = file.read(len(GGUF_MAGIC))
    except OSError as failure:
        raise _unreadable(path, failure) from None
    # ggml, docs/gguf.md: the magic number comes first.
    if magic != GGUF_MAGIC:
        raise DecodeError(
            f"model {path}",
            expected=f"a GGUF, which starts with {GGUF_MAGIC!r}",
            found=shown(magic),
            hint="download it again; a model of several files is given as its directory",
        )


def _unreadable(path: Path, failure: OSError) -> UnavailableError:
    return UnavailableError(
        f"model {path}: {failure.strerror}", hint="check the path, and that this user may read it"
    )
