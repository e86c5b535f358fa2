# SPDX-License-Identifier: Apache-2.0
"""From artefacts to registers: what a boot will measure, before it ever happens. Pure.

One module a register group, each following its specification line by line; `predict_boot` puts them
together for registers 0 to 15. It reads no running machine and no log: registers 0 to 3 and 6 come from a
record of the same firmware, or are said to be unpredictable.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from mantlet.predict import (
    boot_loader,
    extensions,
    initrd,
    kernel_boot,
    kernel_config,
    partitions,
    secure_boot,
    user_space,
)
from mantlet.predict.boot import Basis, Boot, RegisterPrediction
from mantlet_measure.errors import DecodeError
from mantlet_measure.pcr import BANKS, Bank, Event, Register

__all__ = ["predict_boot"]

RECORDED: tuple[int, ...] = (0, 1, 2, 3, 6)
_NO_RECORD = "firmware and machine settle it: pass a firmware record of such a boot"
_IMA = "the kernel extends it by itself (IMA), in an order that nothing settles"

_FIRST = Register.BOOT_LOADER_CODE
_COMPUTED: Mapping[int, Callable[[Boot, tuple[Bank, ...]], RegisterPrediction]] = {
    Register.BOOT_LOADER_CODE: boot_loader.events,
    Register.BOOT_LOADER_CONFIG: partitions.events,
    Register.SECURE_BOOT_POLICY: secure_boot.events,
    Register.KERNEL_INITRD: initrd.events,
    Register.KERNEL_BOOT: kernel_boot.events,
    Register.KERNEL_CONFIG: kernel_config.events,
    Register.SYSEXTS: extensions.events,
}


def predict_boot(boot: Boot, *, banks: tuple[Bank, ...] = BANKS) -> Mapping[int, RegisterPrediction]:
    """Return what each register holds after this boot, 0 to 15, in order.

    DecodeError, UnpredictableError or UnauthorisedError for a boot that would not come to its end, or that
    nobody has checked; a register that only the machine settles is predicted as unpredictable instead.
    """
    # Register 4 first: it leaves the hash of each image behind, which register 7 looks up in db and dbx.
    found = {int(_FIRST): _before_user_space(_FIRST, boot, banks)}
    # The others are independent, and hashlib lets go of the interpreter lock while it works.
    others = [int(register) for register in Register if register != _FIRST]
    with ThreadPoolExecutor(max_workers=2) as pool:
        predictions = pool.map(lambda register: _before_user_space(register, boot, banks), others)
        found |= dict(zip(others, predictions, strict=True))
    return {
        int(register): user_space.completed(register, found[register], boot, banks) for register in Register
    }


def _before_user_space(register: int, boot: Boot, banks: tuple[Bank, ...]) -> RegisterPrediction:
    if register in _COMPUTED:
        return _COMPUTED[register](boot, banks)
    if register in RECORDED:
        return _recorded(register, boot, banks)
    if register == Register.IMA:
        return RegisterPrediction(events=(), basis=Basis.UNPREDICTABLE, reason=_IMA)
    # Nothing measures into 8 without GRUB, into 14 without shim; the agent finds 15 at zero.
    return RegisterPrediction(events=())


def _recorded(register: int, boot: Boot, banks: tuple[Bank, ...]) -> RegisterPrediction:
    if boot.firmware is None:
        return RegisterPrediction(events=(), basis=Basis.UNPREDICTABLE, reason=_NO_RECORD)
    events = boot.firmware.registers.get(register, ())
    return RegisterPrediction(
        events=tuple(_in_banks(event, banks) for event in events),
        basis=Basis.RECORDED,
        reason=boot.firmware.source,
    )


def _in_banks(event: Event, banks: tuple[Bank, ...]) -> Event:
    if missing := [bank for bank in banks if bank not in event.digests]:
        raise DecodeError(
            "firmware record",
            expected=f"digests of {', '.join(banks)}",
            found=f"none of {', '.join(missing)}",
            hint="record a boot whose TPM has these banks on, or ask for fewer",
        )
    return Event(
        register=event.register,
        digests={bank: event.digests[bank] for bank in banks},
        type=event.type,
        description=event.description,
    )
