# SPDX-License-Identifier: Apache-2.0
"""Register 11, kernel-boot: systemd's stub measures the sections of the UKI, user space the phases.

Follows systemd's src/boot/stub.c, `measure_sections`. `systemd-measure` computes the same from section files.
"""

from collections.abc import Iterator

from mantlet.predict.parts import measured_parts
from mantlet.predict.uki import SECTIONS, Uki
from mantlet.predict.user_space import phases
from mantlet_measure.pcr import Event, Register, measured

_UNMEASURED = ".pcrsig"


def events(uki: Uki, phase_words: tuple[str, ...]) -> tuple[Event, ...]:
    """Return the sections' events, two each, then the phases'."""
    return (*_sections(uki), *phases(phase_words))


def _sections(uki: Uki) -> Iterator[Event]:
    register = Register.KERNEL_BOOT
    for name in SECTIONS:
        section = uki.image.section(name)
        if section is None or not section.virtual_size or name == _UNMEASURED:
            continue
        # The name with its NUL, then the section as it lies in memory.
        yield measured(
            register,
            name.encode("ascii") + b"\0",
            claimed_type="EV_IPL",
            description=f"name of section {name}",
        )
        yield measured_parts(
            register, uki.image.loaded(section), claimed_type="EV_IPL", description=f"section {name}"
        )
