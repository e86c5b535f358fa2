# SPDX-License-Identifier: Apache-2.0
"""What is looked at when an attacked machine is off: variables, disks, shares, captures.

A probe here takes what the boot left and says what it found, a phrase each.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mantlet.attack.changes import ROM_MAC
from mantlet.attack.observation import Packet
from mantlet.edge import process
from mantlet.edge.attack import packets
from mantlet.edge.attack.hand import Hand
from mantlet.edge.attack.stand import Stand

# What udev reads of a disk, and of each of its partitions, to learn what it is (libblkid; 2.7 MB were seen).
_PROBED = 3 << 20
_DHCP_SERVER = 67


@dataclass(frozen=True, slots=True, kw_only=True)
class Aftermath:
    """What a boot left: its folder, variables before it, bytes read and written by drive, packets sent."""

    stand: Stand
    folder: Path
    hand: Hand
    variables: bytes
    statistics: Mapping[str, tuple[int, int]]
    sent: tuple[Packet, ...]


def _consumed(name: str) -> Callable[[Aftermath], tuple[str, ...]]:
    """A variable that was there at power-on and is gone, or holds something else."""

    def look(left: Aftermath) -> tuple[str, ...]:
        before = left.folder / "variables-before"
        before.write_bytes(left.variables)
        first, last = _variable(left, before, name), _variable(left, left.hand.variables, name)
        return () if first == last else (f"the variable {name} was consumed",)

    return look


def _variable(left: Aftermath, store: Path, name: str) -> str | None:
    output = left.folder / "variables.json"
    argv = ["virt-fw-vars", "--input", str(store), "--output-json", str(output)]
    process.run(left.stand.tools.command(argv, rw=[left.folder]))
    for entry in json.loads(output.read_bytes())["variables"]:
        if entry["name"] == name:
            return str(entry["data"])
    return None


def _used(**partitions: int) -> Callable[[Aftermath], tuple[str, ...]]:
    """A drive that was written, or read beyond what probing reads. partitions: how many each drive has."""

    def look(left: Aftermath) -> tuple[str, ...]:
        said = []
        for drive, count in partitions.items():
            read, written = left.statistics.get(drive, (0, 0))
            if written or read > (1 + count) * _PROBED:
                said.append(f"the disk {drive}: {read} bytes were read, {written} written")
        return tuple(said)

    return look


def _dns(left: Aftermath) -> tuple[str, ...]:
    return tuple(
        f"it sent {packet.text}" for packet in left.sent if packet.kind == "udp" and packet.port == 53
    )


def _suggested(left: Aftermath) -> tuple[str, ...]:
    others = [packet for packet in left.sent if packet.kind == "udp" and packet.port != _DHCP_SERVER]
    return tuple(f"it sent {packet.text}" for packet in others)


def _option_rom(left: Aftermath) -> tuple[str, ...]:
    # The image has no driver for the card.
    frames = list(packets.frames(left.folder / "rom.pcap", bytes.fromhex(ROM_MAC.replace(":", ""))))
    return (f"the card sent {len(frames)} frames before the UKI",) if frames else ()


PROBES: Mapping[str, Callable[[Aftermath], tuple[str, ...]]] = {
    "variable-hibernate-location": _consumed("HibernateLocation"),
    "variable-factory-reset": _consumed("FactoryResetRequest"),
    "rogue-partitions": _used(discoverable=5),
    "rogue-encrypted-disk": _used(encrypted=0),
    "hostile-file-systems": _used(seed=0, various=3),
    "rogue-root-disk": _used(same=4),
    "dns": _dns,
    "dhcp-options": _suggested,
    "option-rom": _option_rom,
}
"""By name; the names of attacks."""
