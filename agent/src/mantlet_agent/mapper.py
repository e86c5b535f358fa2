# SPDX-License-Identifier: Apache-2.0
"""The device mapper, through its ioctls (include/uapi/linux/dm-ioctl.h).

Owns the encoding of the five commands that the agent needs. libdevmapper and udev are not asked: the kernel
answers with the device number itself, and devtmpfs makes the node.
"""

import fcntl
import os
import struct
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from mantlet_agent.mapping import Target

# struct dm_ioctl: version[3], data_size, data_start, target_count, open_count, flags, event_nr, padding,
# dev, name, uuid, data
_HEADER = struct.Struct("=3I I I I i I I I Q 128s 129s 7x")
# struct dm_target_spec: sector_start, length, status, next, target_type
_TARGET = struct.Struct("=Q Q i I 16s")
_VERSION = (4, 0, 0)
_READ_ONLY = 1 << 0
_SECURE_DATA = 1 << 15
# verity_status(), drivers/md/dm-verity-target.c: first `V` until a block does not verify, `C` from then on.
_CORRUPT = b"C"
_STATUS_ROOM = 256


class _Command(IntEnum):
    """_IOWR(0xfd, number, struct dm_ioctl)."""

    CREATE = 0xC138FD03
    REMOVE = 0xC138FD04
    RESUME = 0xC138FD06
    LOAD = 0xC138FD09
    STATUS = 0xC138FD0C


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """A live mapping."""

    name: str
    major: int
    minor: int

    @property
    def number(self) -> str:
        """The device number as a table names it."""
        return f"{self.major}:{self.minor}"


class Mapper:
    """An open device mapper."""

    def __init__(self, devices: Path) -> None:
        """Open the control node. OSError."""
        self._devices = devices
        self._control = os.open(devices / "mapper/control", os.O_RDWR | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        """Return the mapper itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the control node. Mappings stay."""
        os.close(self._control)

    def create(self, name: str, target: Target) -> Mapped:
        """Make a read-only mapping of one target. OSError, and then nothing is left of it."""
        mapped = Mapped(name=name, **_device(self._ioctl(_Command.CREATE, name)))
        try:
            self._ioctl(_Command.LOAD, name, encode_target(target))
            self._ioctl(_Command.RESUME, name)
        except OSError:
            self.remove(name)
            raise
        return mapped

    def remove(self, name: str) -> None:
        """Remove a mapping. OSError."""
        self._ioctl(_Command.REMOVE, name)

    def is_corrupt(self, name: str) -> bool:
        """Whether a block of a verity mapping was read that does not verify. OSError."""
        answer = self._ioctl(_Command.STATUS, name, bytes(_STATUS_ROOM))
        return decode_status(answer).startswith(_CORRUPT)

    def node(self, mapped: Mapped) -> Path:
        """Return the node that devtmpfs has made for a mapping."""
        return self._devices / f"dm-{mapped.minor}"

    def _ioctl(self, command: _Command, name: str, table: bytes = b"") -> bytes:
        buffer = bytearray(encode_header(name, table=table))
        fcntl.ioctl(self._control, command, buffer, True)
        return bytes(buffer)


def encode_header(name: str, *, table: bytes) -> bytes:
    """Return the bytes of one command: header, then the table if there is one."""
    header = _HEADER.pack(
        *_VERSION,
        _HEADER.size + len(table),
        _HEADER.size,
        1 if table else 0,
        0,
        _READ_ONLY | _SECURE_DATA,
        0,
        0,
        0,
        name.encode("ascii"),
        b"",
    )
    return header + table


def encode_target(target: Target) -> bytes:
    """Return a table of one target: its specification, its parameters, padded to eight bytes."""
    parameters = target.parameters.encode("ascii") + b"\0"
    parameters += bytes(-len(parameters) % 8)
    size = _TARGET.size + len(parameters)
    return _TARGET.pack(0, target.sectors, 0, size, target.type.encode("ascii")) + parameters


def decode_status(answer: bytes) -> bytes:
    """Return what the only target of a mapping says of itself."""
    start = int(_HEADER.unpack_from(answer)[4])
    return answer[start + _TARGET.size :].split(b"\0", 1)[0]


def _device(answer: bytes) -> dict[str, int]:
    number = int(_HEADER.unpack_from(answer)[10])
    # huge_encode_dev, include/linux/kdev_t.h
    return {"major": number >> 8 & 0xFFF, "minor": number & 0xFF | number >> 12 & 0xFFF00}
