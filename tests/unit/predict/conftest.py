# SPDX-License-Identifier: Apache-2.0
"""Real artefacts for the prediction tests, made once by the tools that a build uses."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.unit.predict import initrds
from tests.unit.predict.synthetic import CMDLINE, OS_RELEASE

OWNER = "4e32566d-8e9e-4f52-81d3-5bb9715f9727"
STUB = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefacts:
    """A folder with unsigned.efi, uki.efi, OVMF_VARS.fd, vars.json, and PEM keys pk, kek, db and other."""

    folder: Path
    tools: Any

    def run(self, *argv: str) -> bytes:
        """Run a program of the tools tree that sees the folder; return its stdout."""
        command: Sequence[str] = self.tools.command(list(argv), rw=(self.folder,))
        return subprocess.run(command, check=True, capture_output=True).stdout

    def path(self, name: str) -> str:
        """The path of one artefact."""
        return str(self.folder / name)

    def read(self, name: str) -> bytes:
        """The bytes of one artefact."""
        return (self.folder / name).read_bytes()

    def sign(self, name: str, *, key: str = "db") -> bytes:
        """Sign the unsigned UKI with systemd-sbsign; return the signed bytes."""
        self.run(
            "/usr/lib/systemd/systemd-sbsign",
            "sign",
            f"--private-key={self.path(key)}.key",
            f"--certificate={self.path(key)}.pem",
            f"--output={self.path(name)}",
            self.path("unsigned.efi"),
        )
        return self.read(name)


def _initrd(made: Artefacts) -> None:
    """Pack an initrd that carries two of systemd's measuring units, and a size that is no multiple of 4."""
    units = made.folder / "root" / "usr/lib/systemd/system"
    for unit, target in (
        ("systemd-pcrosseparator.service", "sysinit.target"),
        ("systemd-pcrphase-initrd.service", "initrd.target"),
    ):
        (units / f"{target}.wants").mkdir(parents=True)
        (units / unit).write_text("[Service]\n")
        (units / f"{target}.wants" / unit).symlink_to(f"../{unit}")
    packing = "cd root && find . | LC_ALL=C sort | cpio --create --format=newc --quiet --reproducible"
    made.run("sh", "-c", f"cd {made.folder} && ({packing}) > initrd")
    # The kernel skips zeros behind an archive.
    with (made.folder / "initrd").open("ab") as file:
        file.write(bytes(3))


@pytest.fixture(scope="session")
def artefacts(tools: Any, tmp_path_factory: pytest.TempPathFactory) -> Artefacts:
    """Build keys and a UKI around the stub of the tools tree, which is the kernel too: any PE will do."""
    made = Artefacts(folder=tmp_path_factory.mktemp("artefacts"), tools=tools)
    # Of a size that needs padding, with the units that the image has.
    initrd = initrds.cpio_of({**initrds.SEPARATOR, **initrds.PHASE, "usr/large": bytes(range(256)) * 400})
    (made.folder / "initrd").write_bytes(initrd + bytes(3))
    (made.folder / "os-release").write_text(OS_RELEASE)
    for key in ("pk", "kek", "db", "other"):
        names = (
            "-subj",
            f"/CN=test {key}/",
            "-keyout",
            f"{made.path(key)}.key",
            "-out",
            f"{made.path(key)}.pem",
        )
        made.run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", *names)
    made.run(
        "ukify",
        "build",
        f"--linux={STUB}",
        "--uname=7.2.12",
        f"--initrd={made.path('initrd')}",
        f"--cmdline={CMDLINE}",
        f"--os-release=@{made.path('os-release')}",
        f"--output={made.path('unsigned.efi')}",
    )
    made.sign("uki.efi")
    enrolled = [("--set-pk", "pk"), ("--add-kek", "kek"), ("--add-db", "db")]
    options = [word for option, key in enrolled for word in (option, OWNER, f"{made.path(key)}.pem")]
    files = ("--output", made.path("OVMF_VARS.fd"), "--output-json", made.path("vars.json"))
    made.run("virt-fw-vars", "--input", "/usr/share/OVMF/OVMF_VARS_4M.fd", *files, *options, "--sb")
    return made
