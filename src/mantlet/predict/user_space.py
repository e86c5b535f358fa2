# SPDX-License-Identifier: Apache-2.0
"""What systemd's user space measures on top of firmware, stub and kernel.

Follows systemd's units `systemd-pcrphase-*`, `systemd-pcrosseparator` (>= 261), `systemd-tpm2-setup-early`
and `systemd-pcrnvdone` (>= 259). They only run if the initrd carries them: `Boot.user_space` says what does.
"""

from mantlet.predict.boot import Basis, Boot, RegisterPrediction
from mantlet_measure.pcr import BANKS, Bank, Event, Register, measured

PHASES: tuple[str, ...] = ("enter-initrd", "leave-initrd")
# Those of a boot that reaches its end, in order; systemd-pcrphase.service(8).
ALL_PHASES: tuple[str, ...] = (*PHASES, "sysinit", "ready", "shutdown", "final")
OS_SEPARATOR = "os-separator"
NVPCR_SEPARATOR = "nvpcr-separator"
# units/systemd-pcrosseparator.service.in
SEPARATED: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 14)


def os_separator(register: int, banks: tuple[Bank, ...] = BANKS) -> tuple[Event, ...]:
    """Return the separator's event, for the registers that it goes into; none for the others."""
    return (_word(register, OS_SEPARATOR, OS_SEPARATOR, banks),) if register in SEPARATED else ()


def phases(words: tuple[str, ...], banks: tuple[Bank, ...] = BANKS) -> tuple[Event, ...]:
    """Return the phases' events of register 11, in order."""
    return tuple(_word(Register.KERNEL_BOOT, word, "phase", banks) for word in words)


def completed(
    register: int, prediction: RegisterPrediction, boot: Boot, banks: tuple[Bank, ...] = BANKS
) -> RegisterPrediction:
    """Return `prediction` with what user space adds: all but the phases, which register 11 has already.

    The separator goes before the NvPCRs (systemd-tpm2-setup-early.service, After=).
    """
    added = os_separator(register, banks) if boot.user_space.os_separator else ()
    if register == Register.KERNEL_INITRD and boot.user_space.nvpcr_separator:
        added = (*added, _word(register, NVPCR_SEPARATOR, NVPCR_SEPARATOR, banks))
    reasons = [prediction.reason, _nvpcrs(register, boot), boot.user_space.unpredictable.get(register, "")]
    if prediction.basis is not Basis.UNPREDICTABLE and not any(reasons[1:]):
        return RegisterPrediction(
            events=(*prediction.events, *added), basis=prediction.basis, reason=prediction.reason
        )
    return RegisterPrediction(
        events=(*prediction.events, *added),
        basis=Basis.UNPREDICTABLE,
        reason="; ".join(reason for reason in reasons if reason),
    )


def _nvpcrs(register: int, boot: Boot) -> str:
    if register != Register.KERNEL_INITRD or not boot.user_space.nvpcrs:
        return ""
    names = ", ".join(nvpcr.name for nvpcr in boot.user_space.nvpcrs)
    # src/shared/tpm2-util.c, `nvpcr-init:<name>:<index>:<name of the index>`.
    return f"the initrd sets up NvPCRs ({names}) and measures the TPM names of their indices"


def _word(register: int, word: str, type: str, banks: tuple[Bank, ...]) -> Event:
    # pcrextend measures the word without a NUL.
    return measured(register, word.encode("ascii"), type=type, description=word, banks=banks)
