# SPDX-License-Identifier: Apache-2.0
"""Register 7, secure-boot-policy: the Secure Boot variables, and the key that let the UKI start.

Follows TCG PFP 1.06, *PCR[7]*, and EDK2 (Tcg2Dxe `MeasureAllSecureVariables`, DxeImageVerificationLib). It
finds the authorising certificate the way the firmware does, and refuses an image that the firmware would not
start.
"""

from uuid import UUID

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from mantlet.predict import signature_lists
from mantlet.predict.authenticode import authenticode
from mantlet.predict.boot_loader import SEPARATOR
from mantlet.predict.pe import Image
from mantlet.predict.signature import signers
from mantlet.predict.signature_lists import SHA256, X509, Entry
from mantlet.predict.variables import GLOBAL, IMAGE_SECURITY, SecureBootKeys
from mantlet_measure.errors import MantletError
from mantlet_measure.pcr import Bank, Event, Register, measured


class UnauthorisedError(MantletError):
    """An image that Secure Boot would not start with these keys."""


def variable_data(vendor: UUID, name: str, data: bytes) -> bytes:
    """Return UEFI_VARIABLE_DATA: vendor ‖ u64 characters ‖ u64 bytes ‖ name in UTF-16LE, no NUL ‖ data."""
    head = vendor.bytes_le + len(name).to_bytes(8, "little") + len(data).to_bytes(8, "little")
    return head + name.encode("utf-16-le") + data


def events(image: Image, keys: SecureBootKeys) -> tuple[Event, ...]:
    """Return what the firmware measures. UnauthorisedError when it would not start the image."""
    register = Register.SECURE_BOOT_POLICY
    variables = (
        (GLOBAL, "SecureBoot", b"\x01"),
        (GLOBAL, "PK", keys.pk),
        (GLOBAL, "KEK", keys.kek),
        (IMAGE_SECURITY, "db", keys.db),
        # A variable that does not exist is measured all the same, with no data.
        (IMAGE_SECURITY, "dbx", keys.dbx),
    )
    authority = _authority(image, keys)
    return (
        *(
            measured(
                register,
                variable_data(vendor, name, data),
                claimed_type="EV_EFI_VARIABLE_DRIVER_CONFIG",
                description=f"variable {name}",
            )
            for vendor, name, data in variables
        ),
        measured(
            register, SEPARATOR, claimed_type="EV_SEPARATOR", description="end of Secure Boot configuration"
        ),
        measured(
            register,
            variable_data(IMAGE_SECURITY, "db", authority.encoded()),
            claimed_type="EV_EFI_VARIABLE_AUTHORITY",
            description="db entry that authorised the UKI",
        ),
    )


def _authority(image: Image, keys: SecureBootKeys) -> Entry:
    """Return the first entry of db that signed the image, or that issued its signer."""
    digest = authenticode(image, Bank.SHA256)
    found = signers(image, digest)
    denied = signature_lists.decode(keys.dbx, what="variable dbx")
    if any(entry.type == SHA256 and entry.data == digest for entry in denied):
        raise UnauthorisedError(
            f"UKI: expected an image that dbx does not name, found its hash {digest.hex()} there",
            hint="build a new image: this one was revoked",
        )
    for signer in found:
        if _first(signer, denied) is not None:
            continue
        entry = _first(signer, signature_lists.decode(keys.db, what="variable db"))
        if entry is not None:
            return entry
    names = ", ".join(signer.subject.rfc4514_string() for signer in found)
    raise UnauthorisedError(
        f"UKI: expected a signature by a certificate of db, or of its direct issue, found one by {names}",
        hint="sign the UKI with the key whose certificate is enrolled in db",
    )


def _first(signer: x509.Certificate, entries: tuple[Entry, ...]) -> Entry | None:
    whole = signer.public_bytes(Encoding.DER)
    for entry in entries:
        if entry.type == X509 and (entry.data == whole or _issued(signer, entry.data)):
            return entry
    return None


def _issued(signer: x509.Certificate, authority: bytes) -> bool:
    try:
        signer.verify_directly_issued_by(x509.load_der_x509_certificate(authority))
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True
