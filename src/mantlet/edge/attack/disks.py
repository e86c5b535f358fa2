# SPDX-License-Identifier: Apache-2.0
"""Disks that somebody brings, made with the stock tools: rogue partitions, encrypted volumes, file systems.

Each holds what would be used if anything looked for it. Sizes are small; every disk is made anew.
"""

import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mantlet.attack.changes import HIBERNATED_UUID, DiskKind
from mantlet.edge import process
from mantlet.edge.attack import damage
from mantlet.edge.image import Build
from mantlet.edge.tools import ToolsTree

_MEBI = 1 << 20
_SECTOR = 512
_PAGE = 4096
_HIBERNATED = b"S1SUSPEND\0"
# UAPI.2, Discoverable Partitions Specification: the types of x86-64 and of all.
_TYPES = {
    "home": "933ac7e1-2eb4-4f13-b844-0e14e2aef915",
    "srv": "3b8f8425-20e0-4f3b-907f-1a25a76f98e8",
    "var": "4d21b016-b534-45c2-a9fb-5c16e091fd2d",
    "swap": "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f",
    "xbootldr": "bc13c2ff-59e6-4262-a352-b275fd6f7172",
}
_LUKS_UUID = "6f1f0f5e-2f0a-4c52-9d6e-0c5f6b3d7a98"


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskMaker:
    """Makes disks in `folder`."""

    folder: Path
    built: Build
    tools: ToolsTree

    def make(self, name: str, kind: DiskKind) -> Path:
        """Make one disk."""
        disk = self.folder / f"{name}.raw"
        match kind:
            case DiskKind.SAME_IDENTIFIERS:
                self._same_identifiers(disk)
            case DiskKind.DISCOVERABLE:
                sizes = [(type_, label, 16 * _MEBI) for label, type_ in _TYPES.items()]
                starts = self._partitioned(disk, sizes)
                for (_, label, size), start in zip(sizes, starts, strict=True):
                    self._file_system(disk, "swap" if label == "swap" else "ext4", label, start, size)
            case DiskKind.ENCRYPTED:
                self._empty(disk, 32)
                words = ["cryptsetup", "luksFormat", "--batch-mode", "--type=luks2", f"--uuid={_LUKS_UUID}"]
                words += ["--pbkdf=pbkdf2", "--pbkdf-force-iterations=1000", "--key-file=-", str(disk)]
                process.run(self.tools.command(words, rw=[self.folder]), stdin=b"known")
            case DiskKind.CLOUD_SEED:
                self._empty(disk, 34)
                seed = {
                    "user-data": b"#cloud-config\nruncmd:\n- [poweroff]\n",
                    "meta-data": b"instance-id: x\n",
                }
                self._run("mkfs.vfat", "-F", "32", "-s", "1", "-n", "CIDATA", str(disk))
                for member, content in seed.items():
                    (self.folder / member).write_bytes(content)
                    self._run("mcopy", "-i", str(disk), str(self.folder / member), f"::/{member}")
            case DiskKind.FILE_SYSTEMS:
                sizes = [("linux", label, 16 * _MEBI) for label in ("cidata", "config-2", "writable")]
                for (_, label, size), start in zip(sizes, self._partitioned(disk, sizes), strict=True):
                    self._file_system(disk, "ext4", label, start, size)
            case DiskKind.HIBERNATED:
                self._empty(disk, 16)
                self._run("mkswap", "--label", "hibernated", "--uuid", HIBERNATED_UUID, str(disk))
                with disk.open("r+b") as file:
                    # Linux, kernel/power/swap.c: this in the place of SWAPSPACE2 says that an image follows.
                    file.seek(_PAGE - len(_HIBERNATED))
                    file.write(_HIBERNATED)
        return disk

    def _same_identifiers(self, disk: Path) -> None:
        """The build's own disk, whose root holds another PID 1."""
        shutil.copyfile(self.built.path("disk.raw"), disk)
        damage.flip_in_first_program(self.built, disk, self.tools)

    def _partitioned(self, disk: Path, sizes: Sequence[tuple[str, str, int]]) -> list[int]:
        self._empty(disk, 2 + sum(size for _, _, size in sizes) // _MEBI)
        starts, at, table = [], _MEBI, "label: gpt\n"
        for type_, label, size in sizes:
            table += f"start={at // _SECTOR}, size={size // _SECTOR}, type={type_}, name={label}, "
            table += f"uuid={uuid.uuid5(uuid.NAMESPACE_OID, label)}\n"
            starts.append(at)
            at += size
        command = self.tools.command(["sfdisk", "--quiet", str(disk)], rw=[self.folder])
        process.run(command, stdin=table.encode("ascii"))
        return starts

    def _file_system(self, disk: Path, kind: str, label: str, start: int, size: int) -> None:
        part = self.folder / "part"
        with part.open("wb") as file:
            file.truncate(size)
        words = ("mkswap", "--label") if kind == "swap" else ("mke2fs", "-q", "-t", kind, "-L")
        self._run(*words, label, str(part))
        with disk.open("r+b") as whole:
            whole.seek(start)
            whole.write(part.read_bytes())
        part.unlink()

    def _empty(self, disk: Path, mebibytes: int) -> None:
        with disk.open("wb") as file:
            file.truncate(mebibytes * _MEBI)

    def _run(self, *argv: str) -> None:
        environment = {"MTOOLS_SKIP_CHECK": "1"}
        process.run(self.tools.command(argv, rw=[self.folder], env=environment))
