# SPDX-License-Identifier: Apache-2.0
"""The disk image around a pack: one GPT partition, every byte outside of it a function of the root hash.

Follows UEFI 2.10, 5.2.3 (protective MBR) and 5.3 (GPT) with 512-byte sectors, and gives the bytes that sfdisk
writes for the same partition. A byte that is not what this module says does not belong to the pack.
"""

import struct
import uuid
import zlib

from mantlet_measure import body

PARTITION_NAME = "mantlet-weights"
PARTITION_OFFSET = body.OFFSET

_NAMESPACE = uuid.UUID("6d616e74-6c65-5477-8569-676874733031")
_SECTOR = 512
# Discoverable Partitions Specification (UAPI.2): generic Linux data, which nothing mounts by itself.
_PARTITION_TYPE = uuid.UUID("0FC63DAF-8483-4772-8E79-3D69D8477DE4")
_ENTRIES, _ENTRY = 128, 128
_TABLE = _ENTRIES * _ENTRY
# The backup is a header and the entries, behind the last partition.
_BACKUP = _SECTOR + _TABLE
_REVISION, _HEADER_SIZE = 0x00010000, 92


def size_of(size: int) -> int:
    """Return the bytes of a disk image that holds a partition of `size` bytes, in whole MiB."""
    return -(-(PARTITION_OFFSET + size + _BACKUP) // (1 << 20)) << 20


def head(root_hash: bytes, size: int) -> bytes:
    """Return what lies before the partition of `size` bytes: protective MBR, GPT, zeros."""
    last = size_of(size) // _SECTOR - 1
    # UEFI 2.10, table 5.4: one record of type EE over the whole disk, as far as 32 bits reach.
    record = struct.pack("<B3sB3sII", 0, b"\0\2\0", 0xEE, b"\xff\xff\xff", 1, min(last, 0xFFFFFFFF))
    mbr = bytes(446) + record + bytes(48) + b"\x55\xaa"
    table = _table(root_hash, size)
    front = mbr + _header(root_hash, table, here=1, other=last, entries=2) + table
    return front + bytes(PARTITION_OFFSET - len(front))


def tail(root_hash: bytes, size: int) -> bytes:
    """Return what lies behind the partition of `size` bytes: zeros, and the backup GPT up to the end."""
    last = size_of(size) // _SECTOR - 1
    table = _table(root_hash, size)
    back = table + _header(root_hash, table, here=last, other=1, entries=last - _TABLE // _SECTOR)
    return bytes(size_of(size) - PARTITION_OFFSET - size - len(back)) + back


def _table(root_hash: bytes, size: int) -> bytes:
    """UEFI 2.10, 5.3.3: one entry out of 128."""
    first = PARTITION_OFFSET // _SECTOR
    entry = struct.pack(
        "<16s16sQQQ72s",
        _PARTITION_TYPE.bytes_le,
        uuid.uuid5(_NAMESPACE, f"partition:{root_hash.hex()}").bytes_le,
        first,
        first + size // _SECTOR - 1,
        0,
        PARTITION_NAME.encode("utf-16-le"),
    )
    return entry + bytes(_TABLE - len(entry))


def _header(root_hash: bytes, table: bytes, *, here: int, other: int, entries: int) -> bytes:
    """UEFI 2.10, 5.3.2: the header in the sector `here`, whose twin is in `other`; both name one disk."""
    last = max(here, other)
    values = (
        *(here, other, PARTITION_OFFSET // _SECTOR, last - _BACKUP // _SECTOR),
        uuid.uuid5(_NAMESPACE, f"disk:{root_hash.hex()}").bytes_le,
        *(entries, _ENTRIES, _ENTRY, zlib.crc32(table)),
    )
    blank = struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", _REVISION, _HEADER_SIZE, 0, 0, *values)
    crc = zlib.crc32(blank)
    header = struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", _REVISION, _HEADER_SIZE, crc, 0, *values)
    return header + bytes(_SECTOR - len(header))
