# SPDX-License-Identifier: Apache-2.0
"""Real disks to audit: file systems that the tools tree makes, UKIs and partition tables made by hand."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from mantlet.audit import engine
from mantlet.audit.finding import Policy
from mantlet.edge import audited, process
from mantlet.edge.tools import ToolsTree
from mantlet.predict import pe
from mantlet.predict.authenticode import authenticode
from mantlet.predict.gpt import ESP
from mantlet_measure.pcr import Bank
from tests.unit.predict import initrds, media, signing, synthetic

VERITY = UUID("2c7357ed-ebd2-46d9-aec1-23d437ec2bf5")
SIGNATURE = UUID("41092b05-9fc8-4523-994f-2def0408b176")
UKI = "EFI/BOOT/BOOTX64.EFI"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A folder, and the tools that make file systems in it."""

    folder: Path
    tools: ToolsTree

    def run(self, *argv: str) -> bytes:
        """Run a program of the tools tree that sees the folder."""
        return process.run(self.tools.command(list(argv), rw=[self.folder])).stdout

    def esp(self, files: Mapping[str, bytes]) -> bytes:
        """An EFI system partition."""
        return media.fat(self, files, bits=16)

    def uki(self, **sections: bytes | None) -> bytes:
        """A UKI with an initrd of one program."""
        usual: dict[str, bytes | None] = {
            "initrd": initrds.record("usr/bin/bash", b"\x7fELF", 0o100755) + initrds.TRAILER
        }
        return synthetic.uki(synthetic.sections(**{**usual, **sections}))

    def root(self) -> Path:
        """A folder with a setuid program, a link out of it, a file nobody may read, and an open unit."""
        root = self.folder / "root"
        (root / "usr/bin").mkdir(parents=True)
        (root / "usr/bin/su").write_bytes(b"\x7fELF")
        (root / "usr/bin/su").chmod(0o4755)
        (root / "usr/bin/out").symlink_to("/etc/hostname")
        (root / "usr/bin/secret").write_bytes(b"x")
        (root / "usr/bin/secret").chmod(0o111)
        (root / "usr/lib/systemd/system").mkdir(parents=True)
        (root / "usr/lib/systemd/system/loose.service").write_text("[Service]\nExecStart=/usr/bin/su\n")
        return root


def erofs(bench: Bench) -> bytes:
    """An erofs image of the root."""
    bench.run("mkfs.erofs", "--quiet", "-zlz4", str(bench.folder / "fs"), str(bench.root()))
    return (bench.folder / "fs").read_bytes()


def squashfs(bench: Bench) -> bytes:
    """A squashfs image of the root."""
    bench.run("mksquashfs", str(bench.root()), str(bench.folder / "fs"), "-quiet", "-no-progress")
    return (bench.folder / "fs").read_bytes()


def ext4(bench: Bench) -> bytes:
    """An ext4 image of the root."""
    bench.run("mke2fs", "-q", "-t", "ext4", "-d", str(bench.root()), str(bench.folder / "fs"), "4M")
    return (bench.folder / "fs").read_bytes()


def written(bench: Bench, content: bytes) -> Path:
    """A disk as a file."""
    disk = bench.folder / "disk.raw"
    disk.write_bytes(content)
    return disk


def opened(disk: Path) -> dict[str, list[str]]:
    """The findings of a disk, by rule."""
    found: dict[str, list[str]] = {}
    with audited.opened(disk) as looked_at:
        for finding in engine.audit(looked_at, Policy()).findings:
            found.setdefault(finding.rule, []).append(finding.subject)
    return found


def with_esp(bench: Bench, files: Mapping[str, bytes], *, root: bytes = bytes(4096)) -> bytes:
    """A disk of a root and an EFI system partition."""
    return media.disk([(media.ROOT, root), (ESP, bench.esp(files))])


def signed_uki(bench: Bench, **sections: bytes | None) -> bytes:
    """A UKI with a signature for Secure Boot."""
    digest = authenticode(pe.decode(bench.uki(**sections)), Bank.SHA256)
    blob = signing.pkcs7(signing.Knobs(digest=digest))
    return signing.attach(bench.uki(**sections), signing.entry(blob))
