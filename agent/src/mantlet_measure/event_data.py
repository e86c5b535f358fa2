# SPDX-License-Identifier: Apache-2.0
"""The structures inside the data of firmware events (TCG PC Client PFP 1.06, *Event Descriptions*).

Owns their layout. A structure that does not fit its bytes is None and no error: a log may say anything here,
and only digests decide. It proves nothing and words nothing.
"""

from dataclasses import dataclass

_VARIABLE = 32
_TAGGED = 8
_IMAGE_LOAD = 32
_GPT_HEADER = 92
_GPT_ENTRY = 128
_GPT_ENTRIES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """UEFI_VARIABLE_DATA: a variable and its content."""

    guid: str
    name: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Tagged:
    """TCG_PCClientTaggedEvent: a tag, and the data behind it."""

    tag: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLoad:
    """UEFI_IMAGE_LOAD_EVENT: an image in memory, and the UEFI device path that it came from."""

    address: int
    size: int
    device_path: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """An entry of a partition table; blocks are the disk's, the last one included."""

    type_guid: str
    guid: str
    first_block: int
    last_block: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionTable:
    """UEFI_GPT_DATA: a disk and its used partitions."""

    disk_guid: str
    partitions: tuple[Partition, ...]


def guid(data: bytes) -> str:
    """Return the text of 16 bytes as UEFI writes GUIDs (UEFI 2.10, appendix A): lower case."""
    ordered = data[3::-1] + data[5:3:-1] + data[7:5:-1] + data[8:16]
    text = ordered.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def variable(data: bytes) -> Variable | None:
    """Read a variable event: GUID, length of the name in characters, length of the data, name, data."""
    end = _VARIABLE + 2 * number(data, 16, 8)
    if len(data) < _VARIABLE or end + number(data, 24, 8) != len(data):
        return None
    return Variable(
        guid=guid(data[:16]),
        name=data[_VARIABLE:end].decode("utf-16-le", "replace"),
        data=data[end:],
    )


def tagged(data: bytes) -> Tagged | None:
    """Read a tagged event: identifier, size, data."""
    size = number(data, 4, 4)
    if len(data) < _TAGGED + size:
        return None
    return Tagged(tag=number(data, 0, 4), data=data[_TAGGED : _TAGGED + size])


def image_load(data: bytes) -> ImageLoad | None:
    """Read the event of a loaded image: address, size, link-time address, length of the path, path."""
    if len(data) < _IMAGE_LOAD or _IMAGE_LOAD + number(data, 24, 8) > len(data):
        return None
    end = _IMAGE_LOAD + number(data, 24, 8)
    return ImageLoad(address=number(data, 0, 8), size=number(data, 8, 8), device_path=data[_IMAGE_LOAD:end])


def partition_table(data: bytes) -> PartitionTable | None:
    """Read a GPT event: the header (UEFI 2.10, 5.3.2), the number of used entries, the entries."""
    start = _GPT_HEADER + 8
    count, size = number(data, _GPT_HEADER, 8), number(data, 84, 4)
    if len(data) < start or size < _GPT_ENTRY or count > _GPT_ENTRIES or start + count * size > len(data):
        return None
    return PartitionTable(
        disk_guid=guid(data[56:72]),
        partitions=tuple(
            _partition(data[offset : offset + size]) for offset in range(start, start + count * size, size)
        ),
    )


def _partition(entry: bytes) -> Partition:
    return Partition(
        type_guid=guid(entry[:16]),
        guid=guid(entry[16:32]),
        first_block=number(entry, 32, 8),
        last_block=number(entry, 40, 8),
        name=entry[56:128].decode("utf-16-le", "replace").split("\0", 1)[0],
    )


def number(data: bytes, offset: int, size: int) -> int:
    """Return a little-endian integer; bytes behind the end read as zero."""
    return int.from_bytes(data[offset : offset + size], "little")
