# SPDX-License-Identifier: Apache-2.0
"""Stated limits: what the owner of the hypervisor can do, shown so that nobody claims otherwise."""

from mantlet.attack import signs
from mantlet.attack.catalogue import credentials, ports
from mantlet.attack.changes import Qemu, Replay
from mantlet.attack.model import Attack, Control

ATTACKS: tuple[Attack, ...] = (
    Attack(
        id="memory-dump",
        name="memory-dump",
        title="The host reads the machine's memory",
        probes=("memory-dump",),
        sign=signs.found("memory-dump", words="the weights are in memory in the clear"),
        control=Control.LIMIT,
        group=ports.GROUP,
        fast=True,
    ),
    Attack(
        id="tpm-snapshot",
        name="tpm-snapshot",
        title="TPM, variables and disks put back to an earlier state",
        sign=signs.serves(),
        control=Control.LIMIT,
        group=ports.GROUP,
        fast=True,
    ),
    Attack(
        id="clock",
        name="clock",
        title="A clock that the host sets to another year",
        changes=(Qemu(("-rtc", "base=2031-05-06")),),
        probes=("clock",),
        sign=signs.found("clock", words="the machine takes the host's year"),
        control=Control.LIMIT,
        group=credentials.GROUP,
        fast=True,
    ),
    Attack(
        id="log-replay",
        name="log-replay",
        title="A whole boot replayed into the TPM, and the key asked for, with no machine running",
        changes=(Replay.WHOLE,),
        sign=signs.released(),
        control=Control.LIMIT,
        fast=True,
    ),
)
"""Each must succeed: a limit that does not show is stated wrongly."""
