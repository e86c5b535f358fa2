# SPDX-License-Identifier: Apache-2.0
"""What an attacker does to the disks of a machine that is off: one change each, on copies."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mantlet.edge import process
from mantlet.edge.image import Build
from mantlet.edge.tools import ToolsTree
from mantlet.predict import pe, uki
from mantlet_measure import dsse, volume
from mantlet_measure.errors import MantletError

T = TypeVar("T")

_SECTOR = 512
# PID 1 itself: nothing boots without this block.
_FIRST_PROGRAM = "/usr/lib/systemd/systemd"
# The partition that repart makes for it, and its size in bytes.
_SIGNATURE, _SIGNATURE_SIZE = "root-x86-64-verity-sig", 16384


def flip(path: Path, offset: int) -> None:
    """Flip one bit of the byte at `offset`."""
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def flip_in_partition(disk: Path, name: str, tools: ToolsTree, *, at: int = 4096) -> None:
    """Flip one bit of the partition whose name ends so, `at` bytes from its start."""
    flip(disk, partition(disk, lambda entry: entry["name"].endswith(name), tools) + at)


def remove_root_partitions(disk: Path, tools: ToolsTree) -> None:
    """Take root, hash tree and signature out of both partition tables; the firmware still finds the ESP."""
    numbers = [
        str(number) for number, entry in enumerate(_entries(disk, tools), 1) if "root" in entry["name"]
    ]
    expect(len(numbers) == 3, "a root, its hash tree and a signature")
    process.run(tools.command(["sfdisk", "--quiet", "--delete", str(disk), *numbers], rw=[disk]))


def flip_in_kernel(built: Build, disk: Path) -> None:
    """Flip a bit in the middle of the kernel, on the ESP."""
    section = _section(pe.decode(built.path("uki.efi").read_bytes(), what=uki.WHAT), ".linux")
    flip(disk, _uki_offset(built, disk) + section.raw_offset + section.raw_size // 2)


def give_a_console(built: Build, disk: Path) -> None:
    """Let the kernel command line on the ESP speak to a console, in as many bytes as before."""
    image = pe.decode(built.path("uki.efi").read_bytes(), what=uki.WHAT)
    section = _section(image, ".cmdline")
    at = image.content(section).index(b"console=null")
    with disk.open("r+b") as file:
        file.seek(_uki_offset(built, disk) + section.raw_offset + at)
        expect(file.read(12) == b"console=null", "console=null on the disk where the UKI has it")
        file.seek(-12, 1)
        file.write(b"console=tty0")


def flip_in_first_program(built: Build, disk: Path, tools: ToolsTree) -> None:
    """Flip a bit of the root file system where PID 1's program lies."""
    root = built.path("root.raw")
    argv = ["dump.erofs", "-e", f"--path={_FIRST_PROGRAM}", str(root)]
    said = process.run(tools.command(argv, ro=[root])).stdout.decode()
    (extent,) = [line for line in said.splitlines() if line.lstrip().startswith("0:")]
    physical = int(extent.split(":")[2].partition("..")[0])
    with root.open("rb") as file:
        file.seek(physical)
        block = file.read(4096)
    at = partition(
        disk, lambda entry: entry["name"].startswith("root") and "verity" not in entry["name"], tools
    )
    with disk.open("rb") as file:
        file.seek(at + physical)
        expect(file.read(4096) == block, "PID 1's program on the disk where the root has it")
    flip(disk, at + physical + 100)


def rewrite_signature(disk: Path, change: Callable[[bytes], bytes], tools: ToolsTree) -> None:
    """Replace what the partition of the root hash's signature holds: JSON, filled up with zeros."""
    at = partition(disk, lambda entry: entry["name"] == _SIGNATURE, tools)
    with disk.open("r+b") as file:
        file.seek(at)
        before = file.read(_SIGNATURE_SIZE)
        document = before.rstrip(b"\0")
        expect(json.loads(document).keys() >= {"rootHash", "signature"}, "a root hash and its signature")
        file.seek(at)
        file.write(change(document).ljust(_SIGNATURE_SIZE, b"\0"))


def partition(disk: Path, wanted: Callable[[dict[str, str]], bool], tools: ToolsTree) -> int:
    """Where the one partition that is wanted starts, in bytes."""
    (entry,) = [entry for entry in _entries(disk, tools) if wanted(entry)]
    return int(entry["start"]) * _SECTOR


def _entries(disk: Path, tools: ToolsTree) -> list[dict[str, str]]:
    said = process.run(tools.command(["sfdisk", "--json", str(disk)], ro=[disk])).stdout
    entries: list[dict[str, str]] = json.loads(said)["partitiontable"]["partitions"]
    return entries


def rewrite_document(
    deployment: Path, change: Callable[[dsse.Envelope], dsse.Envelope], tools: ToolsTree
) -> None:
    """Replace the document of a deployment volume by a changed one, in a slot without a fault."""
    before = read_slot(deployment, volume.DOCUMENT_OFFSET, tools)
    write_slot(deployment, volume.DOCUMENT_OFFSET, dsse.encode(change(dsse.decode(before))), tools)


def read_slot(deployment: Path, offset: int, tools: ToolsTree) -> bytes:
    """Read a slot of a deployment volume that is not empty."""
    with deployment.open("rb") as file:
        file.seek(_volume_offset(deployment, tools) + offset)
        payload = volume.decode_slot(file.read(volume.SLOT_SIZE))
    return given(payload, f"something in the slot at {offset} of {deployment}")


def write_slot(deployment: Path, offset: int, payload: bytes | None, tools: ToolsTree) -> None:
    """Fill a slot of a deployment volume without a fault, or empty it."""
    with deployment.open("r+b") as file:
        file.seek(_volume_offset(deployment, tools) + offset)
        file.write(bytes(volume.SLOT_SIZE) if payload is None else volume.encode_slot(payload))


def _volume_offset(deployment: Path, tools: ToolsTree) -> int:
    return partition(deployment, lambda entry: entry["name"] == volume.PARTITION, tools)


def cut_in_half(source: Path, target: Path) -> None:
    """Copy a disk image as an interrupted download leaves it."""
    shutil.copyfile(source, target)
    with target.open("r+b") as file:
        file.truncate(target.stat().st_size // 2)


def _uki_offset(built: Build, disk: Path) -> int:
    """Where the UKI lies on the disk: in one piece, since it was the first file on its file system."""
    content, data = built.path("uki.efi").read_bytes(), disk.read_bytes()
    at = data.find(content[:4096])
    expect(data[at : at + len(content)] == content, "the UKI on the disk in one piece")
    return at


def given(value: T | None, what: str) -> T:
    """Return what is there. MantletError when it is not, with `what` in words."""
    if value is None:
        raise absent(what)
    return value


def _section(image: pe.Image, name: str) -> pe.Section:
    return given(image.section(name), f"a section {name} in the UKI")


def expect(met: bool, what: str) -> None:
    """Refuse what is not so. MantletError, with `what` in words."""
    if not met:
        raise absent(what)


def absent(what: str) -> MantletError:
    """The refusal of what is not there."""
    return MantletError(f"damage: expected {what}, found something else", hint="build the image again")
