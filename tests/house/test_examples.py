# SPDX-License-Identifier: Apache-2.0
"""The session that the README shows is run here, on files made for it: each line shown is one that came."""

import contextlib
import io
import json
import shlex
from pathlib import Path

import pytest

from mantlet.cli import main
from tests.house.test_documents import block
from tests.unit.predict import boots, initrds, synthetic

LEFT_OUT = "…"
CMDLINE = "root=LABEL=root ro quiet lockdown={}"


def foreign(lockdown: str) -> bytes:
    """A UKI of nobody here: Debian 13's stub, a kernel, an initrd with systemd's phases, no image id."""
    return synthetic.uki(
        synthetic.sections(
            sdmagic=boots.stub("257.9-1"),
            osrel=b"ID=debian\nVERSION_ID=13\n",
            cmdline=CMDLINE.format(lockdown).encode(),
            uname=b"6.12.48+deb13-amd64",
            linux=boots.KERNEL,
            initrd=initrds.cpio_of(initrds.PHASE),
        )
    )


def output_of(*words: str) -> str:
    """What a command writes to stdout."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        main(list(words), environ={})
    return said.getvalue()


def pcrread(image: Path) -> str:
    """The registers of a machine that went on booting, in the form of `tpm2_pcrread`."""
    phases = ("--phases", "enter-initrd:leave-initrd:sysinit")
    predicted = output_of("predict", str(image), "--secure-boot", "off", *phases, "--json")
    lines = []
    for bank, registers in json.loads(predicted)["platforms"]["qemu-ovmf"]["banks"].items():
        lines.append(f"  {bank}:")
        lines += [f"    {number:<2}: 0x{held['value'].upper()}" for number, held in registers.items()]
    return "\n".join(lines) + "\n"


def session() -> list[tuple[str, list[str]]]:
    """The commands of the README's block, each with the lines of output that it shows."""
    commands: list[tuple[str, list[str]]] = []
    for line in block("session").splitlines():
        if line.startswith("$ "):
            commands.append((line.removeprefix("$ "), []))
        elif line.strip() != LEFT_OUT:
            commands[-1][1].append(line)
    return commands


def test_the_session_in_the_readme_is_what_the_program_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, lockdown in (("theirs.efi", "confidentiality"), ("new.efi", "none")):
        Path(name).write_bytes(foreign(lockdown))
    Path("pcrs.yaml").write_text(pcrread(Path("theirs.efi")))
    output_of("predict", "new.efi", "--secure-boot", "off", "--output", "new.json")
    assert len(session()) == 3
    for command, shown in session():
        program, *words = shlex.split(command)
        assert program == "mantlet"
        said = iter(output_of(*words).splitlines())
        assert shown
        # In order; what is left out is marked, or between them.
        assert [line for line in shown if line not in said] == [], command
