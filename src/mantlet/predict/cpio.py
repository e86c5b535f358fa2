# SPDX-License-Identifier: Apache-2.0
"""The entries of an initrd: newc archives one after another, compressed or not, as Linux unpacks them.

Follows Linux, Documentation/driver-api/early-userspace/buffer-format.rst and init/initramfs.c. It reads front
to back, keeps nothing, and stops at limits: an initrd is data like any other. It does not unpack.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mantlet.predict.compressed import Stream
from mantlet_measure.errors import DecodeError, shown

WHAT = "initrd"
_MAGICS = (b"070701", b"070702")
_HEADER = 110
_NUMBERS = re.compile(rb"[0-9A-Fa-f]{104}")
_TRAILER = "TRAILER!!!"
# Linux knows no longer path (PATH_MAX).
_NAME_LIMIT = 4096
_ENTRIES = 1 << 18
_EXPANDED = 2 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry: its path without leading dots and slashes, its mode, and its first bytes or its target."""

    path: str
    mode: int
    content: bytes


def entries(data: bytes | memoryview, *, keep: int) -> Iterator[Entry]:
    """Yield the entries of every archive in order, each with at most `keep` bytes of its content.

    DecodeError, with the offset, on what Linux would not unpack, and past the limits.
    """
    view = memoryview(data)
    position, count, expanded = 0, 0, 0
    while (position := _behind_zeros(view, position)) < len(view):
        if bytes(view[position : position + 6]) in _MAGICS:
            reader = _Reader((view[position:],), at=position)
            stream = None
        else:
            stream = Stream(view, position, WHAT)
            reader = _Reader(stream, at=position)
        for entry in _archives(reader, keep, alone=stream is None):
            count += 1
            if count > _ENTRIES or expanded + reader.taken > _EXPANDED:
                raise DecodeError(
                    WHAT,
                    expected=f"at most {_ENTRIES} entries of {_EXPANDED} bytes",
                    found="more",
                    offset=position,
                )
            yield entry
        expanded += reader.taken
        position = position + reader.taken if stream is None else stream.end


def _behind_zeros(view: memoryview, position: int) -> int:
    """Pass over the zeros that pad one archive from the next."""
    while position < len(view):
        piece = bytes(view[position : position + 4096])
        if left := piece.lstrip(b"\0"):
            return position + len(piece) - len(left)
        position += len(piece)
    return position


class _Reader:
    """Pieces read front to back; `at` is where they lie in the initrd, for errors."""

    def __init__(self, pieces: Iterable[bytes | memoryview], *, at: int) -> None:
        self._pieces = iter(pieces)
        self._piece: bytes | memoryview = b""
        self._offset = 0
        self.at = at
        self.taken = 0

    def more(self) -> bool:
        """Whether anything is left; fetches the next piece."""
        while self._offset >= len(self._piece):
            piece = next(self._pieces, None)
            if piece is None:
                return False
            self._piece, self._offset = piece, 0
            # A bomb grows within one entry too.
            if self.taken + len(piece) > _EXPANDED:
                raise DecodeError(
                    WHAT, expected=f"at most {_EXPANDED} bytes unpacked", found="more", offset=self.at
                )
        return True

    def take(self, size: int, keep: int) -> bytes:
        """Pass over `size` bytes; return the first `keep` of them."""
        kept = bytearray()
        left = size
        while left:
            if not self.more():
                raise DecodeError(
                    WHAT, expected=f"{left} more bytes of a cpio archive", found="the end", offset=self.at
                )
            step = min(left, len(self._piece) - self._offset)
            if len(kept) < keep:
                kept += self._piece[self._offset : self._offset + min(step, keep - len(kept))]
            self._offset += step
            self.taken += step
            left -= step
        return bytes(kept)

    def pass_zeros(self) -> None:
        """Pass over zeros."""
        while self.more():
            rest = bytes(self._piece[self._offset :])
            # Not byte by byte: a bomb has gigabytes of them.
            zeros = len(rest) - len(rest.lstrip(b"\0"))
            self._offset += zeros
            self.taken += zeros
            if zeros < len(rest):
                return


def _archives(reader: _Reader, keep: int, *, alone: bool) -> Iterator[Entry]:
    """Yield the entries of one archive if it is `alone`, else of all that follow each other."""
    while True:
        yield from _archive(reader, keep)
        if alone:
            return
        reader.pass_zeros()
        if not reader.more():
            return


def _archive(reader: _Reader, keep: int) -> Iterator[Entry]:
    while True:
        head = reader.take(_HEADER, _HEADER)
        if head[:6] not in _MAGICS:
            raise DecodeError(WHAT, expected="cpio (newc)", found=shown(head[:6]), offset=reader.at)
        # int() would also take signs, blanks and underscores.
        if not _NUMBERS.fullmatch(head, 6):
            raise DecodeError(WHAT, expected="hexadecimal cpio numbers", found=shown(head), offset=reader.at)
        numbers = [int(head[start : start + 8], 16) for start in range(6, _HEADER, 8)]
        mode, size, name_size = numbers[1], numbers[6], numbers[11]
        if not 0 < name_size <= _NAME_LIMIT:
            raise DecodeError(
                WHAT,
                expected=f"a path of at most {_NAME_LIMIT} bytes",
                found=str(name_size),
                offset=reader.at,
            )
        name = reader.take(name_size, name_size).split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
        reader.take(-(_HEADER + name_size) % 4, 0)
        if name == _TRAILER:
            return
        content = reader.take(size, min(size, keep))
        reader.take(-size % 4, 0)
        yield Entry(path=_relative(name), mode=mode, content=content)


def _relative(name: str) -> str:
    """Return the path as Linux sees it from the root of the initrd."""
    while name.startswith(("./", "/")):
        name = name[name.index("/") + 1 :]
    return name
