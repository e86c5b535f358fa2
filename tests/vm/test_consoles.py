# SPDX-License-Identifier: Apache-2.0
"""Once the firmware has handed over, no port, screen or key of a machine is a way in, or says a byte.

The machine of these tests has four serial ports, a virtio console, a screen and a keyboard, and somebody at
each.
"""

import time

import pytest

from mantlet.client.attest import attest
from mantlet.edge.attack.boot import after_firmware
from mantlet.edge.attack.ports import Port
from mantlet.edge.attack.probes import HOPES, WAIT, pixels
from mantlet.edge.attack.tpm_trace import Trace
from mantlet_measure.evidence import State
from mantlet_measure.pcr import BANKS, ENFORCED, Bank, Register
from tests.vm.exposed import SERIAL, VIRTIO, Exposed
from tests.vm.rig import Rig, Site
from tests.vm.watch import Boot

pytestmark = pytest.mark.vm


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
    heard = {name: after_firmware(exposed.ports[name].heard) for name in SERIAL}
    assert heard == dict.fromkeys(SERIAL, b"")


def test_nobody_who_types_into_the_virtio_console_gets_a_byte(exposed: Exposed) -> None:
    for text in HOPES:
        exposed.ports[VIRTIO].type(text)
    time.sleep(WAIT)
    assert after_firmware(exposed.ports[VIRTIO].heard) == b""


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


def test_nothing_is_written_on_the_screen(exposed: Exposed) -> None:
    for picture in (exposed.first_screen, exposed.monitor.screen(exposed.folder / "screen")):
        assert set(pixels(picture)) == {0}


def test_no_key_writes_on_the_screen_or_restarts_the_machine(rig: Rig, exposed: Exposed) -> None:
    monitor = exposed.monitor
    for key in ("f1", "f2", "f7"):
        monitor.press("ctrl", "alt", key)
    monitor.press("ret")
    for _ in range(8):
        monitor.press("ctrl", "alt", "delete")
    monitor.press("alt", "sysrq", "b")
    time.sleep(WAIT)
    assert set(pixels(monitor.screen(exposed.folder / "screen"))) == {0}
    assert exposed.machine.is_on()
    with rig.connect(exposed.machine) as connection:
        assert attest(connection, rig.question()).state is State.SERVING


@pytest.mark.parametrize("bank", BANKS)
def test_what_is_plugged_in_shows_in_a_recorded_register_and_in_no_enforced_one(
    sealed: Site, exposed: Exposed, bank: Bank
) -> None:
    plain = Trace(sealed.folder / "tpm.trace").registers(bank)
    given = Trace(exposed.machine.trace).registers(bank)
    assert {number: given[number] for number in ENFORCED} == {number: plain[number] for number in ENFORCED}
    assert given[Register.PLATFORM_CONFIG] != plain[Register.PLATFORM_CONFIG]
