# SPDX-License-Identifier: Apache-2.0
"""Compressed initrds: the formats that Linux unpacks (lib/decompress.c), read as a stream of bounded pieces.

Owns the recognition of gzip, bzip2, xz, lzma, zstd and lz4 (its legacy frame, the only one that Linux takes).
It never holds more than a few pieces at once, whatever the data claim to grow to. The caller counts.
"""

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

import lz4.block  # type: ignore[import-untyped]  # it brings no types
from backports import zstd

from mantlet_measure.errors import DecodeError

_PIECE = 1 << 20
# What a header may make lzma allocate; zstd has such a limit of its own.
_DICTIONARY = 256 << 20
_LZ4_MAGIC = b"\x02\x21\x4c\x18"
# The legacy frame has blocks of 8 MiB, but for the last; LZ4_compressBound of that on disk.
_LZ4_BLOCK = 8 << 20
_LZ4_LARGEST = _LZ4_BLOCK + _LZ4_BLOCK // 255 + 16
_HINT = "compress the initrd again, with zstd for example"


class _Decompressor(Protocol):
    """What bz2, lzma and zstd have in common."""

    @property
    def eof(self) -> bool:
        """Whether the end of the stream was reached."""

    @property
    def needs_input(self) -> bool:
        """Whether more output needs more input."""

    @property
    def unused_data(self) -> bytes:
        """What was handed in behind the end."""

    def decompress(self, data: bytes, /, max_length: int = -1) -> bytes:
        """Return at most `max_length` bytes."""


class _Gzip:
    """zlib in the same clothes."""

    def __init__(self) -> None:
        self._state = zlib.decompressobj(31)
        self._behind = b""
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._state.eof

    @property
    def unused_data(self) -> bytes:
        return self._state.unused_data

    def decompress(self, data: bytes, /, max_length: int = -1) -> bytes:
        piece = self._state.decompress(self._behind + data, max_length)
        self._behind = self._state.unconsumed_tail
        self.needs_input = not self._behind and len(piece) < max_length
        return piece


_FORMATS: tuple[tuple[bytes, str, Callable[[], _Decompressor]], ...] = (
    (b"\x1f\x8b", "gzip", _Gzip),
    (b"BZh", "bzip2", bz2.BZ2Decompressor),
    (b"\xfd7zXZ\0", "xz", lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, _DICTIONARY)),
    (b"\x5d\0\0", "lzma", lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, _DICTIONARY)),
    (b"\x28\xb5\x2f\xfd", "zstd", zstd.ZstdDecompressor),
)


class Stream:
    """One compressed stream in `data` from `start`: iterate over its pieces, then ask for its `end`."""

    def __init__(self, data: memoryview, start: int, what: str) -> None:
        """Recognise the format. DecodeError when it is none of those that Linux unpacks."""
        self._data = data
        self._what = what
        self.start = start
        self.end = start
        magic = bytes(data[start : start + 6])
        found = next((item for item in _FORMATS if magic.startswith(item[0])), None)
        self._legacy_lz4 = magic.startswith(_LZ4_MAGIC)
        if found is None and not self._legacy_lz4:
            raise DecodeError(
                what,
                expected="cpio (newc) or one of gzip, bzip2, xz, lzma, zstd, lz4",
                found=magic.hex() or "nothing",
                offset=start,
                hint=_HINT,
            )
        self._found = found

    def __iter__(self) -> Iterator[bytes]:
        """Yield the decompressed pieces. DecodeError when the stream is damaged or cut off."""
        return self._lz4() if self._found is None else self._common(self._found[1], self._found[2]())

    def _common(self, name: str, state: _Decompressor) -> Iterator[bytes]:
        position = self.start
        while not state.eof:
            given = b""
            if state.needs_input:
                given = bytes(self._data[position : position + _PIECE])
                position += len(given)
                if not given:
                    self._refuse(name, "its end")
            try:
                piece = state.decompress(given, max_length=_PIECE)
            except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error, zstd.ZstdError) as error:
                raise DecodeError(
                    self._what,
                    expected=f"sound {name} data",
                    found=str(error),
                    offset=self.start,
                    hint=_HINT,
                ) from None
            if piece:
                yield piece
        self.end = position - len(state.unused_data)

    def _lz4(self) -> Iterator[bytes]:
        position = self.start + len(_LZ4_MAGIC)
        while position + 4 <= len(self._data):
            size = int.from_bytes(self._data[position : position + 4], "little")
            # lib/decompress_unlz4.c: a size of zero, or the next magic, ends the stream; so does nonsense.
            if not 0 < size <= _LZ4_LARGEST:
                break
            block = bytes(self._data[position + 4 : position + 4 + size])
            if len(block) < size:
                self._refuse("lz4", f"{len(block)} of {size} bytes")
            try:
                yield lz4.block.decompress(block, uncompressed_size=_LZ4_BLOCK)
            except lz4.block.LZ4BlockError as error:
                raise DecodeError(
                    self._what, expected="sound lz4 data", found=str(error), offset=position, hint=_HINT
                ) from None
            position += 4 + size
        self.end = position

    def _refuse(self, name: str, found: str) -> None:
        raise DecodeError(
            self._what,
            expected=f"a whole {name} stream from byte {self.start}",
            found=found,
            offset=len(self._data),
            hint=_HINT,
        )
