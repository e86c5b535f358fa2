# SPDX-License-Identifier: Apache-2.0
"""The entries of a FAT directory (Microsoft, *FAT General Overview* 1.03, long directory entries).

Owns names: the long one where a whole, matching set of records stands before an entry, else the short one
with its case bits, as EDK2's FatPkg shows them. It follows no cluster.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from mantlet_measure.errors import DecodeError

READ_ONLY = 0x01
DIRECTORY = 0x10
_VOLUME = 0x08
_LONG = 0x0F
_SIZE = 32
_DELETED = 0xE5
_LOWER_BASE, _LOWER_EXTENSION = 0x08, 0x10
_LONG_PARTS = ((1, 11), (14, 26), (28, 32))
_LONG_LAST = 0x40
_LONG_LIMIT = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file or directory: its name, attribute bits, first cluster and size in bytes."""

    name: str
    attributes: int
    cluster: int
    size: int

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return bool(self.attributes & DIRECTORY)

    @property
    def is_read_only(self) -> bool:
        """Whether its read-only attribute is set."""
        return bool(self.attributes & READ_ONLY)


def records(data: memoryview, *, what: str) -> Iterator[Entry]:
    """Yield the files and directories in `data`, without labels, `.` and `..`.

    DecodeError when it does not hold whole records of 32 bytes.
    """
    if len(data) % _SIZE:
        raise DecodeError(what, expected="records of 32 bytes", found=f"{len(data)} bytes")
    pending: dict[int, bytes] = {}
    checksum = -1
    for start in range(0, len(data), _SIZE):
        record = bytes(data[start : start + _SIZE])
        if record[0] == 0:
            return
        attributes = record[11]
        if record[0] != _DELETED and attributes & 0x3F == _LONG:
            if record[0] & _LONG_LAST:
                pending, checksum = {}, record[13]
            order = record[0] & ~_LONG_LAST
            if record[13] == checksum and 1 <= order <= _LONG_LIMIT:
                pending[order] = b"".join(record[first:end] for first, end in _LONG_PARTS)
            continue
        if record[0] != _DELETED and not attributes & _VOLUME and record[0] != ord("."):
            yield Entry(
                name=_long(pending, checksum, record) or _short(record),
                attributes=attributes,
                cluster=int.from_bytes(record[20:22], "little") << 16
                | int.from_bytes(record[26:28], "little"),
                size=int.from_bytes(record[28:32], "little"),
            )
        pending, checksum = {}, -1


def _long(pending: dict[int, bytes], checksum: int, record: bytes) -> str:
    """Return the long name if its records are all there and belong to this entry, else an empty string."""
    if not pending or sorted(pending) != list(range(1, len(pending) + 1)) or checksum != _sum(record[:11]):
        return ""
    text = b"".join(pending[order] for order in sorted(pending)).decode("utf-16-le", "replace")
    return text.split("\0", 1)[0]


def _sum(name: bytes) -> int:
    """Return the checksum of a short name that its long records carry."""
    total = 0
    for byte in name:
        total = ((total >> 1) + ((total & 1) << 7) + byte) & 0xFF
    return total


def _short(record: bytes) -> str:
    # 0x05 stands for a first byte of 0xE5, which would mean a deleted entry.
    raw = b"\xe5" + record[1:8] if record[0] == 0x05 else record[:8]
    base, extension = raw.decode("cp437").rstrip(" "), record[8:11].decode("cp437").rstrip(" ")
    base = base.lower() if record[12] & _LOWER_BASE else base
    extension = extension.lower() if record[12] & _LOWER_EXTENSION else extension
    return f"{base}.{extension}" if extension else base
