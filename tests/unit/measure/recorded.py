# SPDX-License-Identifier: Apache-2.0
"""The logs and registers of a real boot: data/README.md says how they were taken."""

import base64
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from mantlet_measure.cel import AgentRecord, decode_agent_log
from mantlet_measure.pcr import BANKS, Bank


class Boot(NamedTuple):
    """What the machine said, byte for byte, and the registers that its TPM signed."""

    firmware_log: bytes
    system_log: bytes
    agent_log: tuple[AgentRecord, ...]
    registers: Mapping[Bank, Mapping[int, bytes]]


@cache
def boot() -> Boot:
    """Read the recorded boot."""
    document = json.loads((Path(__file__).parent / "data/qemu-ovmf.json").read_text("ascii"))
    return Boot(
        firmware_log=base64.b64decode(document["firmware_log"]),
        system_log=base64.b64decode(document["system_log"]),
        agent_log=decode_agent_log(document["agent_log"]),
        registers={
            bank: {int(number): bytes.fromhex(value) for number, value in document["pcrs"][bank].items()}
            for bank in BANKS
        },
    )
