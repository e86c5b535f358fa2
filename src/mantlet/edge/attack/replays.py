# SPDX-License-Identifier: Apache-2.0
"""Replays: no machine runs; a copy of its TPM is told what a boot told it, and asked for the key.

The boot is the one in which the machine was provisioned, as swtpm logged it.
"""

import hashlib
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from mantlet.attack.changes import Replay
from mantlet.attack.observation import End, Observation
from mantlet.edge.attack import hand_keys, tpm_owner
from mantlet.edge.attack.stand import Stand
from mantlet.edge.attack.tpm_trace import Extension, Trace
from mantlet_measure.handover import Handover
from mantlet_measure.pcr import Bank, Register

_FOREIGN_BOOT = (4, 7, 9)
# Of the agent's words in register 15, the fourth is the cap.
_WORDS = 3


def replayed(
    stand: Stand, kind: Replay, *, signed: Mapping[Bank, Mapping[int, bytes]] | None
) -> tuple[Observation, Mapping[Bank, Mapping[int, bytes]]]:
    """Replay, and return what the TPM answered as an observation, and its registers by bank.

    signed: the registers that the policy key signs beforehand, None for the approvals that the machine has.
    """
    started = time.monotonic()
    extends = [(each.register, each.digests) for each in _chosen(Trace(stand.trace).extensions, kind)]
    with tempfile.TemporaryDirectory(prefix="mantlet-") as name:
        folder = Path(name)
        shutil.copytree(stand.machine_folder / "tpm", folder / "tpm")
        shutil.copyfile(stand.deployment, folder / "deployment.raw")
        if signed is not None:
            hand_keys.approve_anything(folder / "deployment.raw", signed, stand.keys, stand.tools)
        given: Handover = hand_keys.handover(folder / "deployment.raw", stand.tools)
        said = tpm_owner.replay(folder / "tpm", extends, given=given, tools=stand.tools)
    registers = {Bank(bank): values for bank, values in said.registers.items()}
    observation = Observation(
        end=End.OFF,
        seconds=round(time.monotonic() - started, 1),
        unseal=(said.code,),
        registers=registers[Bank.SHA256],
    )
    return observation, registers


def _chosen(boot: list[Extension], kind: Replay) -> list[Extension]:
    """What is replayed of a boot."""
    words = [place for place, each in enumerate(boot) if each.register == Register.SYSTEM_IDENTITY]
    released = boot[: words[_WORDS]]
    match kind:
        case Replay.WHOLE:
            return released
        case Replay.CAPPED:
            return boot[: words[_WORDS] + 1]
        case Replay.EARLY:
            phases = [place for place, each in enumerate(released) if each.register == Register.KERNEL_BOOT]
            return [each for place, each in enumerate(released) if place != phases[-1]]
        case Replay.REACHABLE:
            return [_foreign(each) if each.register in _FOREIGN_BOOT else each for each in released]


def _foreign(each: Extension) -> Extension:
    """The same step as another program's boot would make it."""
    digests = {bank: hashlib.new(bank, b"foreign" + digest).digest() for bank, digest in each.digests.items()}
    return Extension(each.place, each.register, digests)
