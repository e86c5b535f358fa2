# SPDX-License-Identifier: Apache-2.0
"""The GUID partition table of a disk (UEFI 2.10, 5.3, *GUID Partition Table Disk Layout*).

Owns the strict decoding of the primary table, and the bytes that the firmware measures of it (TCG PFP 1.06,
*UEFI_GPT_DATA*; EDK2, DxeTpm2MeasureBootLib, `Tcg2MeasureGptTable`). It knows neither the backup table nor
what the partitions hold.
"""

import zlib
from dataclasses import dataclass
from typing import NoReturn
from uuid import UUID

from mantlet_measure.errors import DecodeError, shown

WHAT = "partition table"
ESP = UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
SIGNATURE = b"EFI PART"
SECTOR_SIZES: tuple[int, ...] = (512, 4096)
_REVISION = 0x10000
_HEADER = 92
_ENTRY = 128
_ENTRY_LIMIT = 4096
_ENTRIES_LIMIT = 1024
_UNUSED = UUID(int=0)
_HINT = "write the disk image again: firmware ignores a partition table like this"


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """One used entry; `number` counts from 1, `offset` and `size` are bytes."""

    number: int
    type: UUID
    unique: UUID
    name: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A primary table whose checks hold; `event` is what EV_EFI_GPT_EVENT measures of it."""

    disk: UUID
    sector_size: int
    partitions: tuple[Partition, ...]
    event: bytes


def sector_size(disk: memoryview) -> int | None:
    """Return the logical sector size with which `disk` has a partition table; None when it has none."""
    found = (size for size in SECTOR_SIZES if disk[size : size + len(SIGNATURE)] == SIGNATURE)
    return next(found, None)


def decode(disk: memoryview) -> Table:
    """Decode the primary table of a whole disk. DecodeError, with the offset, on a bad or missing one."""
    size = sector_size(disk)
    if size is None:
        _refuse(512, expected=f"{SIGNATURE.decode()} in the second sector", found=shown(bytes(disk[512:520])))
    header = disk[size : size + _HEADER]
    if len(header) < _HEADER:
        _refuse(len(disk), expected=f"a header of {_HEADER} bytes", found="the end")
    _check_header(disk, size, header)
    first, last = _number(header, 40, 8), _number(header, 48, 8)
    array = _number(header, 72, 8) * size
    count, width = _number(header, 80, 4), _number(header, 84, 4)
    entries = _entries(disk, size, header)
    used = [
        (index, entries[index * width : (index + 1) * width])
        for index in range(count)
        if entries[index * width : index * width + 16] != _UNUSED.bytes
    ]
    partitions = tuple(
        _partition(index + 1, entry, array + index * width, usable=(first, last), sector=size, disk=disk)
        for index, entry in used
    )
    _check_overlap(partitions)
    return Table(
        disk=UUID(bytes_le=bytes(header[56:72])),
        sector_size=size,
        partitions=partitions,
        # PFP: the header, then u64 NumberOfPartitions, then the entries that are in use, in table order.
        event=b"".join((header, len(used).to_bytes(8, "little"), *(entry for _, entry in used))),
    )


def _refuse(offset: int, *, expected: str, found: str) -> NoReturn:
    raise DecodeError(WHAT, expected=expected, found=found, offset=offset, hint=_HINT)


def _number(view: memoryview, offset: int, size: int) -> int:
    return int.from_bytes(view[offset : offset + size], "little")


def _check_header(disk: memoryview, size: int, header: memoryview) -> None:
    """Check what EDK2's PartitionDxe (`PartitionValidGptTable`) checks before it believes a header."""
    if (revision := _number(header, 8, 4)) != _REVISION:
        _refuse(size + 8, expected="revision 1.0", found=f"0x{revision:08x}")
    length = _number(header, 12, 4)
    if not _HEADER <= length <= size:
        _refuse(size + 12, expected=f"a header of {_HEADER} to {size} bytes", found=str(length))
    whole = bytearray(disk[size : size + length])
    if len(whole) < length:
        _refuse(len(disk), expected=f"a header of {length} bytes", found="the end")
    # UEFI 2.10, table 5.5: HeaderCRC32 is computed with the field itself as zero.
    whole[16:20] = bytes(4)
    if (crc := zlib.crc32(whole)) != (stored := _number(header, 16, 4)):
        _refuse(size + 16, expected=f"header CRC {crc:08x}, computed", found=f"{stored:08x}")
    if (place := _number(header, 24, 8)) != 1:
        _refuse(size + 24, expected="the primary header, block 1", found=f"block {place}")


def _entries(disk: memoryview, size: int, header: memoryview) -> memoryview:
    start, count, width = _number(header, 72, 8), _number(header, 80, 4), _number(header, 84, 4)
    if not _ENTRY <= width <= _ENTRY_LIMIT or width & (width - 1):
        _refuse(size + 84, expected="entries of 128, 256, … 4096 bytes", found=str(width))
    if not 0 < count <= _ENTRIES_LIMIT:
        _refuse(size + 80, expected=f"1 to {_ENTRIES_LIMIT} entries", found=str(count))
    if start < 2 or start * size + count * width > len(disk):
        _refuse(size + 72, expected="entries behind the header, on the disk", found=f"block {start}")
    entries = disk[start * size : start * size + count * width]
    if (crc := zlib.crc32(entries)) != (stored := _number(header, 88, 4)):
        _refuse(size + 88, expected=f"CRC of the entries {crc:08x}, computed", found=f"{stored:08x}")
    return entries


def _partition(
    number: int, entry: memoryview, at: int, *, usable: tuple[int, int], sector: int, disk: memoryview
) -> Partition:
    first, last = _number(entry, 32, 8), _number(entry, 40, 8)
    if not usable[0] <= first <= last <= usable[1]:
        _refuse(
            at + 32,
            expected=f"partition {number} inside the usable blocks {usable[0]} to {usable[1]}",
            found=f"{first} to {last}",
        )
    if (last + 1) * sector > len(disk):
        _refuse(
            at + 40, expected=f"partition {number} on the disk of {len(disk)} bytes", found=f"block {last}"
        )
    name = bytes(entry[56:128]).decode("utf-16-le", "replace").split("\0", 1)[0]
    return Partition(
        number=number,
        type=UUID(bytes_le=bytes(entry[:16])),
        unique=UUID(bytes_le=bytes(entry[16:32])),
        name=name,
        offset=first * sector,
        size=(last - first + 1) * sector,
    )


def _check_overlap(partitions: tuple[Partition, ...]) -> None:
    end = 0
    for partition in sorted(partitions, key=lambda item: item.offset):
        if partition.offset < end:
            _refuse(
                partition.offset,
                expected=f"partition {partition.number} behind the one before it",
                found="an overlap",
            )
        end = partition.offset + partition.size
