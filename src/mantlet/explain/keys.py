# SPDX-License-Identifier: Apache-2.0
"""The Secure Boot variables in words: which certificates and hashes they hold, and how two of them differ.

Follows TCG PFP 1.06, *UEFI_VARIABLE_DATA*, and UEFI 2.10, 32.4.1. It reads data that hashed to a measured
digest; it checks no signature, and bytes that are no signature list are called just that.
"""

from collections import Counter
from uuid import UUID

from cryptography import x509

from mantlet.predict import signature_lists
from mantlet.predict.signature import UNREADABLE
from mantlet.predict.signature_lists import SHA256, X509, Entry
from mantlet_measure import event_data
from mantlet_measure.errors import DecodeError

_NAMED = 8
SECURE_BOOT = "SecureBoot"
SIGNATURE_LISTS: tuple[str, ...] = ("PK", "KEK", "db", "dbx", "dbt", "dbr")


def difference(old: bytes | None, new: bytes | None) -> tuple[str, ...]:
    """Say how a measured variable changed; each side is UEFI_VARIABLE_DATA, or None where nobody knows it."""
    before = None if old is None else event_data.variable(old)
    after = None if new is None else event_data.variable(new)
    known = after or before
    if known is None:
        return ()
    if known.name == SECURE_BOOT:
        return () if after is None else (_secure_boot(after.data),)
    if known.name not in SIGNATURE_LISTS:
        return ()
    if before is not None and after is not None:
        return _changes(known.name, before.data, after.data)
    side = "now holds" if after is not None else "should hold"
    listed = _listed(known.data)
    return (f"{known.name} {side} {', '.join(listed[:_NAMED]) or 'nothing'}{_more(len(listed))}",)


def authority(data: bytes | None) -> str:
    """Name the db entry in a measured authority; empty when nobody knows it."""
    found = None if data is None else event_data.variable(data)
    if found is None or len(found.data) <= 16:
        return ""
    return _named(Entry(type=X509, owner=UUID(bytes_le=found.data[:16]), data=found.data[16:]))


def _secure_boot(content: bytes) -> str:
    match content:
        case b"\x01":
            return "Secure Boot is on"
        case b"\0":
            return "Secure Boot is off"
        case b"":
            return "the firmware has no Secure Boot"
        case _:
            return f"SecureBoot is {content[:8].hex()}"


def _changes(name: str, old: bytes, new: bytes) -> tuple[str, ...]:
    before, after = Counter(_listed(old)), Counter(_listed(new))
    gone, come = sorted((before - after).elements()), sorted((after - before).elements())
    sentences = [f"{name} no longer holds {text}" for text in gone[:_NAMED]]
    sentences += [f"{name} newly holds {text}" for text in come[:_NAMED]]
    if len(gone) > _NAMED or len(come) > _NAMED:
        sentences.append(f"{name}: {len(gone)} entries are gone and {len(come)} are new in all")
    if not sentences:
        sentences.append(f"{name} holds the same entries in another form or order")
    return tuple(sentences)


def _listed(content: bytes) -> list[str]:
    try:
        return [_named(entry) for entry in signature_lists.decode(content, what="variable")]
    except DecodeError as error:
        return [f"bytes that are no signature list ({error.found})"]


def _named(entry: Entry) -> str:
    if entry.type == SHA256:
        return f"the hash {entry.data.hex()[:16]}…"
    if entry.type != X509:
        return f"a signature of type {entry.type}"
    try:
        return f"the certificate “{x509.load_der_x509_certificate(entry.data).subject.rfc4514_string()}”"
    except UNREADABLE:
        return "a certificate that cannot be read"


def _more(count: int) -> str:
    return f" and {count - _NAMED} more" if count > _NAMED else ""
