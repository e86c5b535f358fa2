# SPDX-License-Identifier: Apache-2.0
"""What systemd's user space measures: the phases of the boot, and the separator between firmware and OS.

Follows systemd's `systemd-pcrphase-*.service` and `systemd-pcrosseparator.service` (>= 261). Both only happen
if the initrd carries the units: the caller says whether it does.
"""

from mantlet_measure.pcr import Event, Register, measured

PHASES: tuple[str, ...] = ("enter-initrd", "leave-initrd")
OS_SEPARATOR = "os-separator"
# units/systemd-pcrosseparator.service.in
SEPARATED: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 14)


def os_separator(register: int) -> tuple[Event, ...]:
    """Return the separator's event, for the registers that it goes into; none for the others."""
    if register not in SEPARATED:
        return ()
    # pcrextend measures the word without a NUL.
    word = OS_SEPARATOR.encode("ascii")
    return (measured(register, word, claimed_type=OS_SEPARATOR, description=OS_SEPARATOR),)


def phases(words: tuple[str, ...]) -> tuple[Event, ...]:
    """Return the phases' events of register 11, in order."""
    return tuple(
        measured(Register.KERNEL_BOOT, word.encode("ascii"), claimed_type="phase", description=word)
        for word in words
    )
