# SPDX-License-Identifier: Apache-2.0
"""Stated limits: what the owner of the hypervisor can do, shown so that nobody claims otherwise."""

from mantlet.attack import signs
from mantlet.attack.catalogue import credentials, ports
from mantlet.attack.changes import FOLDER, ROM_MAC, Qemu, Replay
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
    Attack(
        # Nobody answers what the driver asks: such a machine comes late to its UKI, or not at all.
        id="option-rom",
        name="option-rom",
        title="A driver in a card's ROM, before the UKI",
        changes=(
            Qemu(
                (
                    *("-netdev", "user,id=rom,restrict=on"),
                    *("-object", f"filter-dump,id=romdump,netdev=rom,file={FOLDER}/rom.pcap"),
                    *("-device", f"e1000,netdev=rom,bootindex=0,mac={ROM_MAC}"),
                )
            ),
        ),
        probes=("option-rom",),
        sign=signs.found("option-rom", words="the ROM's driver sends something"),
        control=Control.LIMIT,
        stands=True,
    ),
)
"""Each must succeed: a limit that does not show is stated wrongly."""
