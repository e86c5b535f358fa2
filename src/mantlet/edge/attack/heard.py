# SPDX-License-Identifier: Apache-2.0
"""What the ports of a machine have said, without what is the firmware's and without the agent's lines."""

import re
from collections.abc import Mapping

from mantlet.attack.observation import End
from mantlet.edge.attack.ports import Port
from mantlet.edge.machine import Machine

STARTS = b"BdsDxe: starting "
"""The firmware's last line."""
# ECMA-48, 5.4: control sequences, at the start of what is said. Among them systemd-stub says, on the
# firmware's consoles and before there is a kernel, which addons on the ESP it leaves out.
_BEFORE_THE_KERNEL = re.compile(
    rb"\A(?:\x1b\[[0-?]*[ -/]*[@-~]|[\r\n]"
    rb"|\.\./src/boot/stub\.c:[0-9]+@load_addons: [ -~]*, ignoring: [ -~]*(?=\r\n))+"
)


def heard_of(machine: Machine, ports: Mapping[str, Port], end: End) -> dict[str, bytes]:
    """What each port has said that is not the firmware's, by port; of `serial0` without the agent's lines."""
    if end is End.FIRMWARE:
        # It went no further than its own words.
        return {}
    heard = {name: after_firmware(port.heard) for name, port in ports.items()}
    return heard | {"serial0": beside_lines(machine)}


def after_firmware(heard: bytes) -> bytes:
    """What a port said after the firmware's last line; all that it said where the firmware named nothing.

    The firmware clears each of its consoles, which may be all that it says there. What systemd-stub says on
    them of an addon that it refuses is left out as well.
    """
    said = heard[heard.rindex(STARTS) :].partition(b"\n")[2] if STARTS in heard else heard
    return _BEFORE_THE_KERNEL.sub(b"", said)


def beside_lines(machine: Machine) -> bytes:
    """What the first serial port said after the firmware, beside the agent's lines."""
    said = after_firmware(machine.serial.read_bytes())
    for line in machine.lines():
        said = said.replace(f"mantlet {line.stage} {line.code}\r\n".encode(), b"", 1)
    return said
