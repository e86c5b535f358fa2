# SPDX-License-Identifier: Apache-2.0
"""Register 12, kernel-config: everything that reaches the kernel from outside the UKI.

Follows systemd's src/boot/stub.c (`run`) for the order, release by release, and boot.c (`image_start`) for
what systemd-boot measures before the stub does. A boot of the UKI alone leaves this register to user space.
"""

from collections.abc import Iterator

from mantlet.predict.addons import Applied, applied
from mantlet.predict.boot import Basis, Boot, RegisterPrediction
from mantlet.predict.command_line import command_line, handed_over
from mantlet.predict.extensions import packed
from mantlet.predict.parts import measured_parts
from mantlet_measure.pcr import BANKS, Bank, Event, Register, measured

_REGISTER = Register.KERNEL_CONFIG


def events(boot: Boot, banks: tuple[Bank, ...] = BANKS) -> RegisterPrediction:
    """Return what the boot loader and the stub measure."""
    choosing = [item.addon.name for item in applied(boot) if ".dtbauto" in item.sections]
    return RegisterPrediction(
        events=(*_loader(boot, banks), *_stub(boot, banks)),
        basis=Basis.UNPREDICTABLE if choosing else Basis.COMPUTED,
        reason=f"the hardware decides whether add-on {choosing[0]} applies: it holds .dtbauto"
        if choosing
        else "",
    )


def _loader(boot: Boot, banks: tuple[Bank, ...]) -> Iterator[Event]:
    options = handed_over(boot)
    if boot.loader is None or (options is None and not boot.profile):
        return
    if boot.profile:
        options = f"@{boot.profile} {options}" if options else f"@{boot.profile}"
    yield _text(options or "", "load options from systemd-boot", banks)


def _stub(boot: Boot, banks: tuple[Bank, ...]) -> Iterator[Event]:
    if boot.profile:
        # measure_profile: decimal, tag 0x13aed6db; nothing for the first profile.
        yield _text(f"{boot.profile}", f"profile {boot.profile}", banks, type="EV_EVENT_TAG")
    for taken in command_line(boot).taken:
        yield _text(taken.text, taken.source, banks)
    addons = applied(boot)
    trees = tuple(_sections(addons, (".dtbauto", ".dtb"), banks))
    archives = tuple(item.event(banks) for item in packed(boot) if item.register is _REGISTER)
    # Until 256 the device trees are installed behind the archives.
    yield from (*archives, *trees) if boot.uki.stub < 257 else (*trees, *archives)
    # The last microcode comes first in the initrd, and in the register.
    yield from _sections(tuple(reversed(addons)), (".ucode",), banks)
    yield from _sections(addons, (".initrd",), banks)


def _sections(
    addons: tuple[Applied, ...], names: tuple[str, ...], banks: tuple[Bank, ...]
) -> Iterator[Event]:
    """Yield the event of the first of `names` that each add-on has."""
    for item in addons:
        name = next((name for name in names if name in item.sections), None)
        if name is not None:
            yield measured_parts(
                _REGISTER,
                item.image.loaded(item.sections[name]),
                type="EV_EVENT_TAG",
                description=f"section {name} of add-on {item.addon.name}",
                banks=banks,
            )


def _text(line: str, description: str, banks: tuple[Bank, ...], *, type: str = "EV_IPL") -> Event:
    """Return the event of a UTF-16 string with its NUL (src/boot/measure.c, `tpm_log_load_options`)."""
    data = f"{line}\0".encode("utf-16-le")
    return measured(_REGISTER, data, type=type, description=description, banks=banks)
