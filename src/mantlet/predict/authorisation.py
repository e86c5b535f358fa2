# SPDX-License-Identifier: Apache-2.0
"""Which entry of db lets an image start, found the way the firmware finds it.

Follows EDK2, DxeImageVerificationLib (`DxeImageVerificationHandler`): each signature in turn against dbx and
db, then the hash of the image against both. It refuses an image that the firmware would not start, and
measures nothing.
"""

from collections.abc import Iterable, Iterator

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding

from mantlet.predict import signature_lists
from mantlet.predict.authenticode import authenticode
from mantlet.predict.pe import Image
from mantlet.predict.signature import UNREADABLE, Signer, signers, subject
from mantlet.predict.signature_lists import SHA256, X509, X509_SHA256, X509_SHA384, X509_SHA512, Entry
from mantlet.predict.variables import SecureBootKeys
from mantlet_measure.errors import MantletError
from mantlet_measure.pcr import Bank

_REVOCATIONS = {X509_SHA256: Bank.SHA256, X509_SHA384: Bank.SHA384, X509_SHA512: Bank.SHA512}


class UnauthorisedError(MantletError):
    """An image that Secure Boot would not start with these keys."""


def authority(image: Image, keys: SecureBootKeys, *, digest: bytes | None = None) -> Entry:
    """Return the entry of db that authorises `image`. UnauthorisedError when none does, or dbx forbids it.

    digest: the SHA-256 Authenticode hash of the image, when it is known already.
    """
    digest = digest or authenticode(image, Bank.SHA256)
    allowed = signature_lists.decode(keys.db, what="variable db")
    denied = signature_lists.decode(keys.dbx, what="variable dbx")
    by_hash = _first_hash(digest, allowed)
    # EDK2: an image without signatures may start if db has its hash.
    found = signers(image, digest) if len(image.certificates) or by_hash is None else ()
    for signer in found:
        if _first_issuer(signer, denied) is not None or _revoked(signer, denied):
            raise _forbidden(image, f"its signer {subject(signer.certificate)}")
    if _first_hash(digest, denied) is not None:
        raise _forbidden(image, f"its hash {digest.hex()}")
    by_signer = (_first_issuer(signer, allowed) for signer in found)
    entry = next((entry for entry in by_signer if entry is not None), by_hash)
    if entry is None:
        names = ", ".join(subject(signer.certificate) for signer in found)
        raise UnauthorisedError(
            f"{image.what}: expected a signature by a certificate of db, or issued by one, "
            f"found one by {names}",
            hint="sign it with the key whose certificate is enrolled in db",
        )
    return entry


def _forbidden(image: Image, what: str) -> UnauthorisedError:
    return UnauthorisedError(
        f"{image.what}: expected an image that dbx does not name, found {what} there",
        hint="build a new image: this one was revoked",
    )


def _first_hash(digest: bytes, entries: Iterable[Entry]) -> Entry | None:
    return next((entry for entry in entries if entry.type == SHA256 and entry.data == digest), None)


def _first_issuer(signer: Signer, entries: Iterable[Entry]) -> Entry | None:
    """Return the first entry whose certificate is the signer's, or stands above it in its chain."""
    chain = tuple(_chain(signer))
    for entry in entries:
        if entry.type == X509 and any(_vouches(entry.data, certificate) for certificate in chain):
            return entry
    return None


def _revoked(signer: Signer, denied: Iterable[Entry]) -> bool:
    """Whether dbx names a certificate of the chain by its hash; the time of revocation is not looked at."""
    parts = [certificate.tbs_certificate_bytes for certificate in _chain(signer)]
    for entry in denied:
        bank = _REVOCATIONS.get(entry.type)
        if bank is not None and any(bank.digest(part) == entry.data[: bank.size] for part in parts):
            return True
    return False


def _chain(signer: Signer) -> Iterator[x509.Certificate]:
    """Yield the signer's certificate and the issuers that come with the signature, upwards."""
    here: x509.Certificate | None = signer.certificate
    left = list(signer.others)
    while here is not None:
        yield here
        below = here
        here = next((other for other in left if _issued(below, other)), None)
        left = [other for other in left if other is not here]


def _vouches(trusted: bytes, certificate: x509.Certificate) -> bool:
    if trusted == certificate.public_bytes(Encoding.DER):
        return True
    try:
        return _issued(certificate, x509.load_der_x509_certificate(trusted))
    except UNREADABLE:
        return False


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (*UNREADABLE, InvalidSignature):
        return False
    return True
