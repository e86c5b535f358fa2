# SPDX-License-Identifier: Apache-2.0
"""Block devices: find the one partition of a name, read and write it raw.

Owns the scan of sysfs and the bounded access. Nothing is found through links that udev makes from what a disk
says, and no file system is looked for: a disk is bytes until something verified says what they are.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mantlet_agent.files import write_all
from mantlet_measure import volume

_SECTOR = 512
_UEVENT_LIMIT = 4096


class PartitionError(Exception):
    """Not exactly one partition has the name; `found` says how many do."""

    def __init__(self, name: str, found: int) -> None:
        """Take the name that was looked for and the number of partitions that have it."""
        super().__init__(f"expected one partition named {name}, found {found}")
        self.found = found


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """A partition: its node, its device number, its size in bytes."""

    node: Path
    major: int
    minor: int
    size: int


def find_partition(name: str, *, block: Path, devices: Path) -> Partition:
    """Return the one partition whose GPT name is `name`. PartitionError when there is none or several."""
    found = tuple(_named(name, block=block, devices=devices))
    if len(found) != 1:
        raise PartitionError(name, len(found))
    return found[0]


def _named(name: str, *, block: Path, devices: Path) -> Iterator[Partition]:
    for entry in sorted(block.iterdir()):
        try:
            properties = _properties(entry / "uevent")
            if properties.get("DEVTYPE") != "partition" or properties.get("PARTNAME") != name:
                continue
            size = int((entry / "size").read_text(encoding="ascii")) * _SECTOR
        except (FileNotFoundError, ValueError):
            continue  # a device that went away, or a kernel that says less: neither is the partition
        yield Partition(
            node=devices / properties["DEVNAME"],
            major=int(properties["MAJOR"]),
            minor=int(properties["MINOR"]),
            size=size,
        )


def _properties(uevent: Path) -> dict[str, str]:
    text = uevent.read_bytes()[:_UEVENT_LIMIT].decode("utf-8", errors="replace")
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


@contextmanager
def _opened(partition: Partition, flags: int) -> Iterator[int]:
    descriptor = os.open(partition.node, flags | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISBLK(status.st_mode) or status.st_rdev != os.makedev(partition.major, partition.minor):
            raise OSError(f"{partition.node} is not block device {partition.major}:{partition.minor}")
        yield descriptor
    finally:
        os.close(descriptor)


def read_slot(partition: Partition, offset: int) -> bytes | None:
    """Return the payload of a slot of the deployment volume, None if it is empty. OSError, or DecodeError."""
    with _opened(partition, os.O_RDONLY) as descriptor:
        raw = bytearray()
        while len(raw) < volume.SLOT_SIZE:
            chunk = os.pread(descriptor, volume.SLOT_SIZE - len(raw), offset + len(raw))
            if not chunk:
                raise OSError(f"{partition.node} ends inside the slot at {offset}")
            raw += chunk
    return volume.decode_slot(bytes(raw))


def write_slot(partition: Partition, offset: int, payload: bytes) -> None:
    """Write a slot so that a cut at any moment leaves it empty, whole or visibly torn. OSError."""
    raw = volume.encode_slot(payload)
    with _opened(partition, os.O_WRONLY) as descriptor:
        os.lseek(descriptor, offset + volume.HEADER_SIZE, os.SEEK_SET)
        write_all(descriptor, raw[volume.HEADER_SIZE :])
        os.fsync(descriptor)
        os.lseek(descriptor, offset, os.SEEK_SET)
        write_all(descriptor, raw[: volume.HEADER_SIZE])
        os.fsync(descriptor)


@contextmanager
def reading(partition: Partition) -> Iterator[int]:
    """Lend a descriptor that reads the partition. OSError when its node is another device."""
    with _opened(partition, os.O_RDONLY) as descriptor:
        yield descriptor
