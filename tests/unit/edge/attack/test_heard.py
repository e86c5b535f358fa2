# SPDX-License-Identifier: Apache-2.0
"""What is heard of a machine: nothing of the firmware's, none of the agent's lines, all else to the byte."""

from pathlib import Path
from typing import cast

import pytest

from mantlet.attack.observation import End
from mantlet.edge.accelerator import Accelerator
from mantlet.edge.attack.heard import after_firmware, heard_of
from mantlet.edge.attack.ports import Port
from mantlet.edge.machine import Hardware, Machine
from mantlet.edge.software_tpm import Authority
from mantlet.edge.tools import ToolsTree

CLEARED = b"\x1b[2J\x1b[001;001H\x1b[=3h\x1b[8;050;080t"
STARTS = b'BdsDxe: starting Boot0001 "UEFI Misc Device"\r\n'


class Said:
    """A port that has said something."""

    def __init__(self, heard: bytes) -> None:
        self.heard = heard


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(
        folder=tmp_path,
        hardware=Hardware(disk=tmp_path, variables=tmp_path),
        tools=ToolsTree(tmp_path),
        authority=Authority(folder=tmp_path),
        accelerator=Accelerator.TCG,
    )


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        (CLEARED + STARTS, b""),
        (CLEARED + STARTS + CLEARED, b""),
        (CLEARED + STARTS + b"login: ", b"login: "),
        (CLEARED + STARTS + CLEARED + b"login: \x1b[0m", b"login: \x1b[0m"),
        # It starts a second program when the first has come back.
        (STARTS + b"shell\r\n" + STARTS + b"kernel", b"kernel"),
        # Started by the hypervisor, nothing is named.
        (CLEARED, b""),
        (CLEARED + b"\r\nlogin: ", b"login: "),
        (b"login: ", b"login: "),
        (b"", b""),
    ],
)
def test_what_comes_after_the_firmwares_last_line_is_the_images(said: bytes, heard: bytes) -> None:
    assert after_firmware(said) == heard


def ports(**said: bytes) -> dict[str, Port]:
    return {name: cast("Port", Said(heard)) for name, heard in said.items()}


def test_the_agents_lines_are_no_speech_and_each_counts_once(machine: Machine) -> None:
    line = b"mantlet serve ok\r\n"
    machine.serial.write_bytes(CLEARED + STARTS + line)
    assert heard_of(machine, ports(serial1=STARTS), End.SERVING) == {"serial1": b"", "serial0": b""}
    machine.serial.write_bytes(STARTS + b"# \r\n" + line)
    assert heard_of(machine, {}, End.SERVING) == {"serial0": b"# \r\n"}


def test_a_firmware_that_starts_nothing_is_alone_on_every_port(machine: Machine) -> None:
    menu = CLEARED + b"Press any key to enter the Boot Manager Menu.\r\n"
    machine.serial.write_bytes(menu)
    assert heard_of(machine, ports(hvc0=menu), End.FIRMWARE) == {}
    words = menu.removeprefix(CLEARED)
    assert heard_of(machine, ports(hvc0=menu), End.ON) == {"hvc0": words, "serial0": words}


def test_what_the_stub_leaves_out_is_said_before_there_is_a_kernel(machine: Machine) -> None:
    # systemd-stub 262, of an addon that nobody signed.
    said = (
        b"../src/boot/stub.c:586@load_addons: Failed to read 'x.addon.efi' from "
        b"'\\EFI\\BOOT\\BOOTX64.EFI.extra.d\\x.addon.efi', ignoring: Access denied\r\n"
    )
    refused = STARTS + b"\x1b[1m\x1b[31m\x1b[40m" + said + b"\x1b[0m\x1b[37m\x1b[40m"
    machine.serial.write_bytes(refused + b"mantlet inspect ok\r\n")
    assert heard_of(machine, ports(hvc0=refused), End.SERVING) == {"hvc0": b"", "serial0": b""}
    assert after_firmware(refused + b"# ") == b"# "
    assert after_firmware(STARTS + b"# " + said) == b"# " + said
