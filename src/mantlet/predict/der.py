# SPDX-License-Identifier: Apache-2.0
"""The little of DER (ITU-T X.690) that an Authenticode signature needs.

Owns the reading of tag, length and content. It knows no schema, and refuses long tags and indefinite lengths.
"""

from dataclasses import dataclass

from mantlet_measure.reader import Reader

INTEGER = 0x02
OCTET_STRING = 0x04
OID = 0x06
SEQUENCE = 0x30
SET = 0x31
CONTEXT_0 = 0xA0
CONTEXT_1 = 0xA1


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One value: its tag, its content, and the whole with tag and length."""

    tag: int
    content: bytes
    whole: bytes


class Values:
    """The values inside one content, front to back."""

    def __init__(self, content: bytes, what: str) -> None:
        """Start before the first value; `what` names the place in errors."""
        self._reader = Reader(content, what)
        self._content = content
        self.what = what

    def peek(self) -> int | None:
        """Return the tag of the next value, or None at the end."""
        return self._content[self._reader.offset] if self._reader.left else None

    def next(self, tag: int) -> Item:
        """Return the next value, which must have this tag."""
        reader = self._reader
        start = reader.offset
        found = reader.u8()
        if found != tag:
            reader.refuse(expected=f"DER tag 0x{tag:02x}", found=f"0x{found:02x}", offset=start)
        size = reader.u8()
        if size & 0x80:
            # X.690, 10.1: definite form, in the fewest octets.
            octets = size & 0x7F
            raw = reader.take(octets) if 1 <= octets <= 4 else b"\0"
            size = int.from_bytes(raw, "big")
            if raw[0] == 0 or size < 0x80:
                reader.refuse(expected="a definite, shortest length", found=raw.hex(), offset=start)
        content = reader.take(size)
        return Item(tag=tag, content=content, whole=self._content[start : reader.offset])

    def inside(self, tag: int) -> "Values":
        """Step into the next value, which must have this tag."""
        return Values(self.next(tag).content, self.what)

    def end(self) -> None:
        """Refuse further values."""
        self._reader.end()
