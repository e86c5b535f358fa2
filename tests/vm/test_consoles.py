# SPDX-License-Identifier: Apache-2.0
"""Once the firmware has handed over, no port, screen or key of a machine is a way in, or says a byte of its own.

The machine of these tests has four serial ports, a virtio console, a screen and a keyboard, and somebody at each.
"""

import time

import pytest

from mantlet.client.attest import attest
from mantlet.release import manifest
from mantlet_measure.evidence import State
from mantlet_measure.pcr import BANKS, ENFORCED, Bank
from tests.vm.conftest import Boot
from tests.vm.exposed import SERIAL, VIRTIO, Exposed
from tests.vm.ports import Port
from tests.vm.rig import Rig
from tests.vm.tpm_trace import Trace

pytestmark = pytest.mark.vm

FIRMWARE = b"BdsDxe: starting "
# What somebody types who hopes for a prompt, and how long he waits for one.
HOPES = (b"\r", b"\r\r", b"root\r", b"\x03", b"\x1b", b"help\r")
WAIT = 3.0


def after_firmware(serial: bytes) -> bytes:
    """What the first serial port said after the firmware's last line."""
    assert FIRMWARE in serial
    return serial[serial.rindex(FIRMWARE) :].partition(b"\n")[2]


def test_the_first_serial_port_of_a_first_boot_says_the_agents_lines_and_nothing_else(first: Boot) -> None:
    lines = b"".join(f"mantlet {line.stage} {line.code}\r\n".encode() for line in first.lines)
    assert after_firmware(first.serial) == lines
    assert len(first.lines) == 8


def test_the_first_serial_port_says_the_agents_lines_whatever_is_plugged_in(exposed: Exposed) -> None:
    found = exposed.machine.lines()
    lines = b"".join(f"mantlet {line.stage} {line.code}\r\n".encode() for line in found)
    assert after_firmware(exposed.machine.serial.read_bytes()) == lines
    assert len(found) == 7


def test_nobody_who_types_into_a_serial_port_gets_a_byte(exposed: Exposed) -> None:
    for name in SERIAL:
        for text in HOPES:
            exposed.ports[name].type(text)
        exposed.monitor.call("chardev-send-break", id=name)
    time.sleep(WAIT)
    assert {name: exposed.ports[name].heard for name in SERIAL} == dict.fromkeys(SERIAL, b"")


def test_nobody_who_types_into_the_virtio_console_gets_a_byte(exposed: Exposed) -> None:
    for text in HOPES:
        exposed.ports[VIRTIO].type(text)
    time.sleep(WAIT)
    assert exposed.ports[VIRTIO].heard == b""


def test_nobody_who_types_into_the_agents_port_gets_a_byte(exposed: Exposed) -> None:
    before = exposed.machine.serial.read_bytes()
    cable = exposed.folder / "cable"
    exposed.monitor.plug_cable("serial", cable, log=exposed.machine.serial)
    with Port(cable) as port:
        for text in HOPES:
            port.type(text)
        exposed.monitor.call("chardev-send-break", id="serial")
        time.sleep(WAIT)
        assert port.heard == b""
    assert exposed.machine.serial.read_bytes() == before


def test_no_key_changes_the_screen_or_restarts_the_machine(rig: Rig, exposed: Exposed) -> None:
    monitor = exposed.monitor
    for key in ("f1", "f2", "f7"):
        monitor.press("ctrl", "alt", key)
    monitor.press("ret")
    for _ in range(8):
        monitor.press("ctrl", "alt", "delete")
    monitor.press("alt", "sysrq", "b")
    time.sleep(WAIT)
    assert monitor.screen(exposed.folder / "screen") == exposed.first_screen
    assert exposed.machine.is_on()
    with rig.connect(exposed.machine) as connection:
        assert attest(connection, rig.question()).state is State.SERVING


@pytest.mark.parametrize("bank", BANKS)
def test_the_enforced_registers_do_not_know_what_is_plugged_in(
    rig: Rig, exposed: Exposed, bank: Bank
) -> None:
    given = Trace(exposed.machine.trace).registers(bank)
    predicted = manifest.decode(rig.manifest.read_bytes()).platforms["qemu-ovmf"].banks[bank]
    expected = {number: predicted[number].value for number in ENFORCED if number != 15}
    assert {number: given[number] for number in expected} == expected
