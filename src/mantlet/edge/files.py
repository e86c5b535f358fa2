# SPDX-License-Identifier: Apache-2.0
"""Files: read with a limit, written so that a name never stands for half a file."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mantlet_measure.errors import DecodeError


def read(path: Path, *, limit: int, what: str) -> bytes:
    """Read a file of at most `limit` bytes. DecodeError when it is larger, OSError when it cannot be read."""
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise DecodeError(f"{what} {path}", expected=f"at most {limit} bytes", found="more")
    return data


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write a file under its name all at once: a reader sees the old content or the new, never a part."""
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with open(descriptor, "wb") as file:  # noqa: PTH123, a descriptor has no path
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until what was written to a file is on its disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def alone(path: Path, *, wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock file `path`; call `wait` once if somebody else holds it, then wait for them."""
    with path.open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            wait()
            fcntl.flock(lock, fcntl.LOCK_EX)
        # What we start holds the lock too: a build whose parent was killed is not joined by another.
        os.set_inheritable(lock.fileno(), True)
        yield


def link_atomic(path: Path, target: str) -> None:
    """Point the symbolic link `path` to `target`, in one step."""
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    partial.symlink_to(target)
    partial.replace(path)


def replace_directory(path: Path, new: Path) -> None:
    """Give the finished directory `new` the name `path`; what stood there goes."""
    old = path.with_name(f".{path.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        path.rename(old)
    new.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def new_directory(path: Path) -> Path:
    """Make the directory `path`, empty; what stood there goes. Returns `path`."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path
