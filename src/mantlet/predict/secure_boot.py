# SPDX-License-Identifier: Apache-2.0
"""Register 7, secure-boot-policy: the Secure Boot variables, and the keys that let images start.

Follows TCG PFP 1.06, *PCR[7]*, and EDK2 (Tcg2Dxe `MeasureAllSecureVariables`, DxeImageVerificationLib
`SecureBootHook`). Who authorises an image is decided in `mantlet.predict.authorisation`. It models a machine
without shim, which would add variables of its own.
"""

from collections.abc import Iterator
from uuid import UUID

from mantlet.predict import addons
from mantlet.predict.authorisation import authority
from mantlet.predict.boot import Boot, RegisterPrediction, SecureBootState
from mantlet.predict.partitions import SEPARATOR
from mantlet.predict.pe import Image
from mantlet.predict.signature_lists import Entry
from mantlet.predict.variables import GLOBAL, IMAGE_SECURITY, Variables, enforced, secure_boot_keys
from mantlet_measure.pcr import BANKS, Bank, Event, Register, measured


def state(variables: Variables, *, what: str) -> SecureBootState:
    """Return how the firmware that starts with these variables enforces signatures; `what` names them."""
    return SecureBootState(enabled=enforced(variables), keys=secure_boot_keys(variables, what=what))


def variable_data(vendor: UUID, name: str, data: bytes) -> bytes:
    """Return UEFI_VARIABLE_DATA: vendor ‖ u64 characters ‖ u64 bytes ‖ name in UTF-16LE, no NUL ‖ data."""
    head = vendor.bytes_le + len(name).to_bytes(8, "little") + len(data).to_bytes(8, "little")
    return head + name.encode("utf-16-le") + data


def events(boot: Boot, banks: tuple[Bank, ...] = BANKS) -> RegisterPrediction:
    """Return what the firmware measures. UnauthorisedError when it would not start one of the images."""
    return RegisterPrediction(events=(*_configuration(boot.secure_boot, banks), *_authorities(boot, banks)))


def _configuration(secure_boot: SecureBootState, banks: tuple[Bank, ...]) -> Iterator[Event]:
    keys = secure_boot.keys
    variables = (
        (GLOBAL, "SecureBoot", bytes([secure_boot.enabled])),
        (GLOBAL, "PK", keys.pk),
        (GLOBAL, "KEK", keys.kek),
        (IMAGE_SECURITY, "db", keys.db),
        # A variable that does not exist is measured all the same, with no data.
        (IMAGE_SECURITY, "dbx", keys.dbx),
    )
    for vendor, name, data in variables:
        yield measured(
            Register.SECURE_BOOT_POLICY,
            variable_data(vendor, name, data),
            type="EV_EFI_VARIABLE_DRIVER_CONFIG",
            description=f"variable {name}",
            banks=banks,
        )
    yield measured(
        Register.SECURE_BOOT_POLICY,
        SEPARATOR,
        type="EV_SEPARATOR",
        description="end of Secure Boot configuration",
        banks=banks,
    )


def _authorities(boot: Boot, banks: tuple[Bank, ...]) -> Iterator[Event]:
    """Yield each entry of db at the first image that it authorises (EDK2, `IsDataMeasured`)."""
    if not boot.secure_boot.enabled:
        return
    seen: set[Entry] = set()
    for role, image in _images(boot):
        entry = authority(image, boot.secure_boot.keys)
        if entry in seen:
            continue
        seen.add(entry)
        yield measured(
            Register.SECURE_BOOT_POLICY,
            variable_data(IMAGE_SECURITY, "db", entry.encoded()),
            type="EV_EFI_VARIABLE_AUTHORITY",
            description=f"db entry that authorised {role}",
            banks=banks,
        )


def _images(boot: Boot) -> Iterator[tuple[str, Image]]:
    """Yield what the firmware is asked to load, in order, as systemd's programs ask.

    The kernel inside the UKI is not among it: stubs before 258 suspend the check for it, later ones start it
    themselves.
    """
    if boot.loader is not None:
        yield "systemd-boot", boot.loader.image
    yield "the UKI", boot.uki.image
    for addon in addons.loaded(boot):
        yield f"add-on {addon.name}", addon.image
