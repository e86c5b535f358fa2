# SPDX-License-Identifier: Apache-2.0
"""Which accelerator QEMU can use here: found out by starting our own firmware under KVM for a moment.

A `/dev/kvm` that exists can still fail at the first instruction that it does not know.
"""

import os
import tempfile
import time
from enum import StrEnum
from pathlib import Path

from mantlet.edge.process import Running
from mantlet.edge.tools import ToolsTree

FIRMWARE = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd"
VARIABLES = "/usr/share/OVMF/OVMF_VARS_4M.fd"
_KVM = Path("/dev/kvm")
# The firmware writes to the console within a second on hardware; a broken KVM stops before that.
_PATIENCE = 4.0
_EMULATED = "Nehalem,vendor=AuthenticAMD,+aes,+pclmulqdq,+rdrand,+sha-ni"


class Accelerator(StrEnum):
    """How guest instructions are run."""

    KVM = "kvm"
    TCG = "tcg"

    @property
    def words(self) -> list[str]:
        """QEMU's options for accelerator and processor.

        Under emulation the processor has no AVX: emulated, it is slower than what it replaces. Instructions
        for AES and SHA-256 are faster, and every block of the disks goes through them. Its vendor is one that
        never made a processor with the flaw Meltdown (CVE-2017-5754): like on any of today, the kernel then
        keeps its page tables during a call, and each change of them empties the emulated TLB.
        """
        if self is Accelerator.KVM:
            return ["-accel", "kvm", "-cpu", "host"]
        return ["-accel", "tcg,thread=multi", "-cpu", _EMULATED]

    @property
    def said(self) -> str:
        """One phrase for the story."""
        return "hardware virtualisation (KVM)" if self is Accelerator.KVM else "emulation (TCG)"


def sandbox_options(accelerator: Accelerator) -> list[str]:
    """What the sandbox must let in for the accelerator."""
    return ["--bind", str(_KVM), str(_KVM)] if accelerator is Accelerator.KVM else []


def machine_words() -> list[str]:
    """QEMU's options for the machine and its read-only firmware, which has Secure Boot and needs SMM."""
    return [
        *("-machine", "q35,smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on"),
        *("-nodefaults", "-display", "none", "-no-reboot"),
        *("-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={FIRMWARE}"),
    ]


def probe(tools: ToolsTree) -> Accelerator:
    """Return KVM when a guest really runs under it, TCG otherwise."""
    if not os.access(_KVM, os.R_OK | os.W_OK):
        return Accelerator.TCG
    with tempfile.TemporaryDirectory(prefix="mantlet-") as name:
        folder = Path(name)
        serial = folder / "serial"
        serial.touch()
        words = [
            *("qemu-system-x86_64", *machine_words(), *Accelerator.KVM.words, "-m", "256", "-smp", "2"),
            *("-drive", f"if=pflash,unit=1,format=raw,readonly=on,file={VARIABLES}"),
            *("-chardev", f"file,id=serial,path={serial}", "-serial", "chardev:serial"),
        ]
        guest = Running(
            tools.command(words, rw=[folder], options=sandbox_options(Accelerator.KVM)), log=folder / "log"
        )
        try:
            end = time.monotonic() + _PATIENCE
            while time.monotonic() < end and guest.returncode is None:
                if serial.stat().st_size > 0:
                    return Accelerator.KVM
                guest.wait(0.1)
        finally:
            guest.stop()
    return Accelerator.TCG
