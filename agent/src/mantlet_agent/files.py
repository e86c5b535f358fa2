# SPDX-License-Identifier: Apache-2.0
"""Small files: read with a limit, written whole or not at all.

Owns the two ways in which the agent touches ordinary files. Devices and sockets are not here.
"""

import os
import stat
from pathlib import Path

from mantlet_measure.errors import DecodeError

_CHUNK = 1 << 16


def read(path: Path, *, limit: int, owner: int | None = None) -> bytes:
    """Return the content of a regular file, not through a symbolic link.

    OSError when it cannot be opened; DecodeError when it is longer than `limit` bytes, no regular file, or
    not owned by the user `owner`. Files of sysfs and securityfs claim a size of zero, so the file is read to
    its end.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise DecodeError(path.name, expected="a regular file", found=oct(stat.S_IFMT(status.st_mode)))
        if owner is not None and status.st_uid != owner:
            raise DecodeError(path.name, expected=f"owner {owner}", found=str(status.st_uid))
        content = bytearray()
        while chunk := os.read(descriptor, _CHUNK):
            content += chunk
            if len(content) > limit:
                raise DecodeError(path.name, expected=f"at most {limit} bytes", found="more")
        return bytes(content)
    finally:
        os.close(descriptor)


def write(path: Path, content: bytes, *, mode: int) -> None:
    """Put `content` at `path` in one step: a reader sees the old file or the new one."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, mode)
        write_all(descriptor, content)
    finally:
        os.close(descriptor)
    draft.replace(path)


def write_all(descriptor: int, content: bytes) -> None:
    """Write all of `content` at the descriptor's position."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
