# SPDX-License-Identifier: Apache-2.0
"""Register 11, kernel-boot: systemd's stub measures the sections of the UKI, user space the phases.

Follows systemd's src/boot/stub.c, `measure_sections`. `systemd-measure` computes the same from section files.
"""

from collections.abc import Iterator, Mapping

from mantlet.predict.boot import Basis, Boot, RegisterPrediction
from mantlet.predict.parts import measured_parts
from mantlet.predict.uki import HARDWARE_SECTIONS, UNMEASURED
from mantlet.predict.user_space import ALL_PHASES, phases
from mantlet_measure.pcr import BANKS, Bank, Event, Register, measured


def events(boot: Boot, banks: tuple[Bank, ...] = BANKS) -> RegisterPrediction:
    """Return the sections' events, two each, then those of the phases that user space goes through."""
    return _with_phases(boot, tuple(_sections(boot, banks)), boot.user_space.phases, banks)


def phase_values(
    boot: Boot, *, words: tuple[str, ...] = ALL_PHASES, banks: tuple[Bank, ...] = BANKS
) -> Mapping[str, RegisterPrediction]:
    """Return the register after each prefix of `words`, keyed as systemd-measure writes it: `a:b`.

    The empty key is the register as the stub leaves it.
    """
    sections = tuple(_sections(boot, banks))
    prefixes = (words[:count] for count in range(len(words) + 1))
    return {":".join(prefix): _with_phases(boot, sections, prefix, banks) for prefix in prefixes}


def _with_phases(
    boot: Boot, sections: tuple[Event, ...], words: tuple[str, ...], banks: tuple[Bank, ...]
) -> RegisterPrediction:
    choosing = [name for name in HARDWARE_SECTIONS if name in boot.uki.sections(boot.profile)]
    return RegisterPrediction(
        events=(*sections, *phases(words, banks)),
        basis=Basis.UNPREDICTABLE if choosing else Basis.COMPUTED,
        reason=f"the hardware decides whether the stub takes and measures {choosing[0]}" if choosing else "",
    )


def _sections(boot: Boot, banks: tuple[Bank, ...]) -> Iterator[Event]:
    register = Register.KERNEL_BOOT
    for name, section in boot.uki.sections(boot.profile).items():
        if name == UNMEASURED or name in HARDWARE_SECTIONS:
            continue
        # The name with its NUL, then the section as it lies in memory.
        yield measured(
            register,
            name.encode("ascii") + b"\0",
            type="EV_IPL",
            description=f"name of section {name}",
            banks=banks,
        )
        yield measured_parts(
            register,
            boot.uki.image.loaded(section),
            type="EV_IPL",
            description=f"section {name}",
            banks=banks,
        )
