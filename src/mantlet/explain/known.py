# SPDX-License-Identifier: Apache-2.0
"""What the artefacts of a build add to the words: texts behind digests, and boots that might have been.

Owns the ways from a UKI and from Secure Boot variables to measured bytes, to an inner kernel's event and to
other profiles of the UKI. What is attached to an event is attached because it hashes to its digest.
"""

from collections.abc import Iterator, Sequence

from mantlet.explain.account import Account, Entry, RegisterAccount, fold
from mantlet.explain.candidates import Insertion
from mantlet.explain.subject import Kind, classify
from mantlet.predict import pe
from mantlet.predict.authenticode import authenticode_digests
from mantlet.predict.pe import Layout
from mantlet.predict.secure_boot import variable_data
from mantlet.predict.uki import Uki
from mantlet.predict.variables import GLOBAL, IMAGE_SECURITY, SecureBootKeys
from mantlet_measure.errors import DecodeError
from mantlet_measure.pcr import Bank, Register

_TEXT = 64 << 10
_PROFILES = 64


def of_keys(keys: SecureBootKeys) -> tuple[bytes, ...]:
    """Return the variables' measured bytes, with Secure Boot on and off."""
    return (
        variable_data(GLOBAL, "SecureBoot", b"\x01"),
        variable_data(GLOBAL, "SecureBoot", b"\0"),
        variable_data(GLOBAL, "PK", keys.pk),
        variable_data(GLOBAL, "KEK", keys.kek),
        variable_data(IMAGE_SECURITY, "db", keys.db),
        variable_data(IMAGE_SECURITY, "dbx", keys.dbx),
    )


def of_sections(uki: Uki) -> tuple[bytes, ...]:
    """Return the measured bytes of the small sections, and of the command line as the kernel measures it."""
    small = (section for section in uki.sections().values() if section.virtual_size <= _TEXT)
    options = f"{uki.cmdline}\0".encode("utf-16-le", "replace")
    return (*(b"".join(uki.image.loaded(section)) for section in small), options)


def inner_kernel(uki: Uki, banks: Sequence[Bank]) -> tuple[Insertion, ...]:
    """Return the event of the kernel inside the UKI; none when it is not an EFI image."""
    content = uki.image.content(uki.sections()[".linux"])
    try:
        image = pe.decode(content, what="kernel in .linux", taken=Layout.FIRMWARE)
    except DecodeError:
        return ()
    return (
        Insertion(
            register=int(Register.BOOT_LOADER_CODE),
            words="the inner kernel was measured too, as stubs up to 257 do while Secure Boot is off",
            step=authenticode_digests(image, tuple(banks)),
        ),
    )


def profiles(uki: Uki, expected: Account) -> Iterator[Account]:
    """Yield register 11 of each other profile of the UKI, with the phases that are expected."""
    number = int(Register.KERNEL_BOOT)
    own = expected.registers.get(number)
    if own is None or own.events is None:
        return
    phases = tuple(entry for entry in own.events if entry.subject.kind is Kind.PHASE)
    banks = tuple(own.values)
    for profile in range(1, _PROFILES):
        try:
            events = (*_sections(uki, profile, banks), *phases)
        except DecodeError:
            return
        values = {bank: fold(bank, events) for bank in banks}
        yield Account(
            name=f"profile {profile} of the UKI",
            registers={number: RegisterAccount(values=values, events=events)},
        )


def _sections(uki: Uki, profile: int, banks: Sequence[Bank]) -> Iterator[Entry]:
    for name, section in uki.sections(profile).items():
        if name == ".pcrsig":
            continue
        content = b"".join(uki.image.loaded(section))
        for text, data in (
            (f"name of section {name}", f"{name}\0".encode("ascii")),
            (f"section {name}", content),
        ):
            digests = {bank: bank.digest(data) for bank in banks}
            subject = classify(int(Register.KERNEL_BOOT), "EV_IPL", text, digests)
            yield Entry(digests=digests, subject=subject, type="EV_IPL", text=text)
