# SPDX-License-Identifier: Apache-2.0
"""Boots for the explanation: what is expected of one, and how a machine's logs tell of another.

The events come from the prediction, register by register; a log tells of them in its own words, as firmware,
stub and systemd write them.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cache
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from mantlet.explain import account
from mantlet.explain.account import Account
from mantlet.explain.explanation import Explanation, explain
from mantlet.predict import boot_loader, extensions, initrd, kernel_boot, kernel_config, user_space
from mantlet.predict.boot import Boot, RegisterPrediction, UserSpace
from mantlet.predict.secure_boot import variable_data
from mantlet.predict.signature_lists import X509
from mantlet.predict.variables import GLOBAL, IMAGE_SECURITY
from mantlet_measure.logged import LoggedEvent
from mantlet_measure.pcr import BANKS, Event, measured
from tests.unit.predict.boots import boot

SPACE = UserSpace(os_separator=True, phases=("enter-initrd", "leave-initrd"))
OWNER = UUID("4e32566d-8e9e-4f52-81d3-5bb9715f9727")
CMDLINE = "console=null quiet lockdown=confidentiality roothash=" + "ab" * 32
# systemd 257, src/boot/linux.c: the path under which the stub loads .linux.
KERNEL_PATH = "55c5d1f8-04cd-46b5-8a20-e56cbb3052d0"
_ARCHIVES = {"credential": "Credentials initrd", "system extension": "System extension initrd"}


@cache
def certificate(name: str) -> bytes:
    """A self-signed certificate of this name, DER."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject)
    builder = builder.public_key(key.public_key()).serial_number(1)
    builder = builder.not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
    return (
        builder.not_valid_after(datetime(2036, 1, 1, tzinfo=UTC))
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )


def signature_lists(*names: str) -> bytes:
    """An EFI signature list for each of the named certificates."""
    lists = b""
    for name in names:
        data = OWNER.bytes_le + certificate(name)
        sizes = (28 + len(data)).to_bytes(4, "little") + bytes(4) + len(data).to_bytes(4, "little")
        lists += X509.bytes_le + sizes + data
    return lists


def secure_boot_data(*, state: bytes = b"\x01", db: Sequence[str] = ("release",)) -> list[bytes]:
    """What the firmware measures into register 7 of its variables; without `db`, setup mode."""
    keys = bool(db)
    return [
        variable_data(GLOBAL, "SecureBoot", state),
        variable_data(GLOBAL, "PK", signature_lists("PK") if keys else b""),
        variable_data(GLOBAL, "KEK", signature_lists("KEK") if keys else b""),
        variable_data(IMAGE_SECURITY, "db", signature_lists(*db)),
        variable_data(IMAGE_SECURITY, "dbx", b""),
    ]


def secure_boot(*, state: bytes = b"\x01", db: Sequence[str] = ("release",)) -> tuple[Event, ...]:
    """Register 7 of such variables; the first certificate of db lets the image start."""
    names = ("SecureBoot", "PK", "KEK", "db", "dbx")
    kind = "EV_EFI_VARIABLE_DRIVER_CONFIG"
    events = [
        measured(7, data, type=kind, description=f"variable {name}")
        for name, data in zip(names, secure_boot_data(state=state, db=db), strict=True)
    ]
    events.append(measured(7, bytes(4), type="EV_SEPARATOR", description="end"))
    if state == b"\x01":
        data = authority_data(db[0])
        events.append(measured(7, data, type="EV_EFI_VARIABLE_AUTHORITY", description="db entry"))
    return tuple(events)


def authority_data(name: str) -> bytes:
    """What is measured of the db entry of this certificate."""
    return variable_data(IMAGE_SECURITY, "db", OWNER.bytes_le + certificate(name))


def table(*sizes: tuple[str, int, int], last_usable: int = 1000, disk: int = 1) -> bytes:
    """UEFI_GPT_DATA of partitions: name, first and last block."""
    header = bytes(48) + last_usable.to_bytes(8, "little") + UUID(int=disk).bytes_le + bytes(12)
    header += (128).to_bytes(4, "little") + bytes(8)
    entries = b"".join(
        UUID(int=9).bytes_le
        + UUID(bytes=name.encode().ljust(16, b"\0")).bytes_le
        + first.to_bytes(8, "little")
        + last.to_bytes(8, "little")
        + bytes(8)
        + name.encode("utf-16-le").ljust(72, b"\0")
        for name, first, last in sizes
    )
    return (
        header[:80]
        + (128).to_bytes(4, "little")
        + (128).to_bytes(4, "little")
        + bytes(4)
        + (len(sizes).to_bytes(8, "little") + entries)
    )


def predictions(scene: Boot, variables: tuple[Event, ...] | None = None) -> dict[int, RegisterPrediction]:
    """What a boot measures into registers 4, 7, 9, 11, 12, 13, 14."""
    found = {
        4: boot_loader.events(scene),
        7: RegisterPrediction(events=secure_boot() if variables is None else variables),
        9: initrd.events(scene),
        11: kernel_boot.events(scene),
        12: kernel_config.events(scene),
        13: extensions.events(scene),
        14: RegisterPrediction(events=()),
    }
    return {number: user_space.completed(number, own, scene, BANKS) for number, own in found.items()}


def scene(**changes: object) -> Boot:
    """A boot of the test UKI with systemd's user space, some fields replaced."""
    return boot(**{"user_space": SPACE, **changes})


def expected(clean: Boot, *known: bytes) -> Account:
    """The account that the release engineer has, with the texts that he knows."""
    told = account.of_predictions(predictions(clean), name="the release")
    options = f"{clean.uki.cmdline}\0".encode("utf-16-le")
    section = clean.uki.sections().get(".cmdline")
    texts = () if section is None else (clean.uki.image.content(section),)
    return account.with_known(told, (*known, *secure_boot_data(), authority_data("release"), options, *texts))


def logged(found: dict[int, RegisterPrediction], data: Iterable[bytes] = ()) -> tuple[LoggedEvent, ...]:
    """Tell of predicted events as logs do; `data` is what the log carries as it was measured."""
    by_digest = {BANKS[0].digest(item): item for item in data}
    events: list[LoggedEvent] = []
    for number, prediction in found.items():
        for event in prediction.events:
            carried = by_digest.get(event.digests[BANKS[0]], b"a description")
            kind, text = _told(number, event, carried)
            events.append(
                LoggedEvent(
                    number=len(events),
                    register=number,
                    digests=event.digests,
                    claimed_type=kind,
                    claimed_text=text,
                    claimed_data=carried,
                )
            )
    return tuple(events)


def _told(register: int, event: Event, carried: bytes) -> tuple[str, str]:
    if register == 11 and event.type == "EV_IPL":
        found = re.search(r"\.[a-z]+", event.description)
        assert found
        return event.type, found[0]
    if register == 9 and event.type == "EV_EVENT_TAG":
        options = "LoadOptions" in event.description
        return event.type, f"tag 0x8f3b22{'ed LOADED_IMAGE::LoadOptions' if options else 'ec Linux initrd'}"
    if event.description.startswith("profile "):
        return event.type, f"tag 0x13aed6db {event.description.removeprefix('profile ')}"
    if event.type == "EV_IPL":
        archive = next((text for word, text in _ARCHIVES.items() if word in event.description.lower()), None)
        return event.type, archive or carried.decode("utf-16-le", "replace").rstrip("\0")
    if event.type == "EV_EFI_BOOT_SERVICES_APPLICATION":
        return event.type, f"VenMedia({KERNEL_PATH})" if "kernel" in event.description else ""
    if event.type == "EV_EFI_ACTION":
        return event.type, event.description
    if event.type.startswith("EV_EFI_VARIABLE"):
        return event.type, f"{event.description.removeprefix('variable ')} = 9 bytes"
    return event.type, event.description if event.type in ("phase", "os-separator") else ""


def observed(found: dict[int, RegisterPrediction], data: Iterable[bytes] = ()) -> Account:
    """The account of a machine's logs."""
    return account.of_events(logged(found, data), name="the machine", banks=BANKS)


def values(found: dict[int, RegisterPrediction]) -> Account:
    """The account of somebody who has the machine's registers and no log."""
    held = observed(found).registers
    return account.of_values(
        {bank: {number: held[number].values[bank] for number in found} for bank in BANKS}, name="the values"
    )


def words(explanation: Explanation) -> list[str]:
    """The findings, one line each."""
    return [finding.words for finding in explanation.findings]


def explained(clean: Boot, other: Boot, data: Iterable[bytes] = ()) -> Explanation:
    """Explain the logs of one boot by what is expected of another."""
    return explain(expected(clean), observed(predictions(other), [*data, *secure_boot_data()]))
