# SPDX-License-Identifier: Apache-2.0
"""The initrd archives that the stub packs: newc cpio, the same bytes for the same files.

Follows systemd's src/boot/cpio.c, which has not changed its output since 252. It neither reads archives nor
says which are packed: see `mantlet.predict.initrd_content` and `mantlet.predict.extensions`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

_PARENT_MODE = 0o040555
_TRAILER = b"070701" + b"00000000" * 4 + b"00000001" + b"00000000" * 6 + b"0000000B" + b"00000000"
_TRAILER_NAME = b"TRAILER!!!" + bytes(4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A directory of the initrd, and the modes that it and its files get (cpio.h, `CpioTarget`)."""

    directory: str
    directory_mode: int
    file_mode: int


META = Target(directory=".extra", directory_mode=0o040555, file_mode=0o100444)


def archive(
    target: Target, files: Iterable[tuple[str, bytes | memoryview]]
) -> tuple[bytes | memoryview, ...]:
    """Return, in parts, the archive of `files` in `target`, without times and owners (`pack_cpio`).

    Names are ASCII (the stub passes over others) and come in the order of the archive.
    """
    parts: list[bytes | memoryview] = []
    inode = 1
    # pack_cpio_prefix: leading directories first, readable; only the last has the mode of its own.
    folders = target.directory.split("/")
    for depth in range(1, len(folders) + 1):
        mode = target.directory_mode if depth == len(folders) else _PARENT_MODE
        parts.append(_header(inode=inode, mode=mode, name="/".join(folders[:depth]), size=0))
        inode += 1
    for name, content in files:
        path = f"{target.directory}/{name}"
        parts.append(_header(inode=inode, mode=target.file_mode, name=path, size=len(content)))
        parts += (content, bytes(-len(content) % 4))
        inode += 1
    # pack_cpio_trailer: a literal, with the size of its name in upper case.
    return (*parts, _TRAILER + _TRAILER_NAME)


def _header(*, inode: int, mode: int, name: str, size: int) -> bytes:
    path = name.encode("ascii") + b"\0"
    # inode, mode, uid, gid, nlink, mtime, size, device (2), special device (2), name size, checksum
    numbers = (inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, len(path), 0)
    head = b"070701" + "".join(f"{number:08x}" for number in numbers).encode("ascii") + path
    return head + bytes(-len(head) % 4)
