# SPDX-License-Identifier: Apache-2.0
"""A cursor over bytes that are not trusted.

Owns the reading of fixed-size integers and length-prefixed fields, and one promise: whatever the bytes, the
only error is a `DecodeError` that names the offset. It knows no format.
"""

from typing import NoReturn

from mantlet_measure.errors import DecodeError


class EndOfDataError(DecodeError):
    """Bytes that end before a field does."""


class Reader:
    """Read `data` from front to back; `what` names it in errors."""

    __slots__ = ("_data", "_offset", "what")

    def __init__(self, data: bytes, what: str) -> None:
        """Start at the first byte of `data`."""
        self._data = data
        self._offset = 0
        self.what = what

    @property
    def offset(self) -> int:
        """Bytes read so far."""
        return self._offset

    @property
    def left(self) -> int:
        """Bytes not read yet."""
        return len(self._data) - self._offset

    def refuse(self, *, expected: str, found: str, offset: int | None = None) -> NoReturn:
        """Raise the DecodeError of this place."""
        raise DecodeError(
            self.what, expected=expected, found=found, offset=self._offset if offset is None else offset
        )

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        if size < 0 or size > self.left:
            raise EndOfDataError(
                self.what,
                expected=f"{size} more bytes",
                found=f"{self.left} before the end",
                offset=self._offset,
            )
        start = self._offset
        self._offset += size
        return self._data[start : self._offset]

    def _integer(self, size: int, order: str) -> int:
        return int.from_bytes(self.take(size), "big" if order == "big" else "little")

    def u8(self) -> int:
        """Read one byte."""
        return self._integer(1, "big")

    def u16be(self) -> int:
        """Read 16 bits, big-endian."""
        return self._integer(2, "big")

    def u32be(self) -> int:
        """Read 32 bits, big-endian."""
        return self._integer(4, "big")

    def u64be(self) -> int:
        """Read 64 bits, big-endian."""
        return self._integer(8, "big")

    def u16le(self) -> int:
        """Read 16 bits, little-endian."""
        return self._integer(2, "little")

    def u32le(self) -> int:
        """Read 32 bits, little-endian."""
        return self._integer(4, "little")

    def u64le(self) -> int:
        """Read 64 bits, little-endian."""
        return self._integer(8, "little")

    def sized16be(self, limit: int) -> bytes:
        """Read a field behind its 16-bit big-endian length: a TPM2B. More than `limit` bytes are refused."""
        start = self._offset
        size = self.u16be()
        if size > limit:
            self.refuse(expected=f"a field of at most {limit} bytes", found=f"{size}", offset=start)
        return self.take(size)

    def rest(self) -> bytes:
        """Return everything that is left."""
        return self.take(self.left)

    def end(self) -> None:
        """Refuse bytes behind the last field."""
        if self.left:
            self.refuse(expected="the end", found=f"{self.left} more bytes")
