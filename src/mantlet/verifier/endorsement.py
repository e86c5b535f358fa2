# SPDX-License-Identifier: Apache-2.0
"""The endorsement: an endorsement key's certificate, checked up to a root that the relying party trusts.

Follows RFC 5280, 6.1, and the TCG EK Credential Profile 2.5, 3.2. The chain is built from the certificates
that the relying party named and from nothing that the machine sent. Revocation is not asked for: the check is
offline.
"""

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtensionOID as Ext

from mantlet.tpm.protected_storage import SHA256_AES128, SHA384_AES256, Protection, PublicKey
from mantlet.verifier.policy import SoftwareTpm, Trust
from mantlet.verifier.steps import Checks, Finding, RefusedError

# Everything that cryptography raises on a certificate that is no certificate, when loading it or reading a
# field.
MALFORMED = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    CryptographyDeprecationWarning,
)
_HINT = "check --ek-roots: it must hold the root and the intermediate certificates of the TPM's manufacturer"
_EK_CERTIFICATE = x509.ObjectIdentifier("2.23.133.8.1")
_MANUFACTURER = x509.ObjectIdentifier("2.23.133.2.1")
_MODEL = x509.ObjectIdentifier("2.23.133.2.2")
_SIGNATURE_HASHES = ("sha256", "sha384", "sha512")
_DEPTH = 4
_RSA = {2048: SHA256_AES128, 3072: SHA384_AES256, 4096: SHA384_AES256}
_ECC = {"secp256r1": SHA256_AES128, "secp384r1": SHA384_AES256}
_ExtensionT = TypeVar("_ExtensionT", bound=x509.ExtensionType)
# RFC 5280, 4.2: a critical extension that is not processed refuses the certificate. These are processed here,
# or say nothing that a relying party must obey.
_UNDERSTOOD = {
    Ext.BASIC_CONSTRAINTS,
    Ext.KEY_USAGE,
    Ext.EXTENDED_KEY_USAGE,
    Ext.SUBJECT_ALTERNATIVE_NAME,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EndorsementKey:
    """A certified endorsement key; `protection` follows from its template (EK Credential Profile 2.5, annex
    B)."""

    public_key: PublicKey
    protection: Protection
    manufacturer: str
    model: str
    spki_sha256: bytes
    root: str


def endorse(certificate: bytes, *, trust: Trust, now: datetime) -> EndorsementKey:
    """Check the DER certificate of an endorsement key and return the key. RefusedError with all findings."""
    try:
        with warnings.catch_warnings():
            # What cryptography only warns of, such as a serial number below 1, RFC 5280 forbids.
            warnings.simplefilter("error", CryptographyDeprecationWarning)
            return _endorse(x509.load_der_x509_certificate(certificate), trust, now)
    except MALFORMED as error:
        finding = Finding(
            subject="EK certificate",
            expected="an X.509 certificate in DER",
            observed=f"a broken one: {error}",
        )
        raise RefusedError([finding], hint=_HINT) from None


def _endorse(leaf: x509.Certificate, trust: Trust, now: datetime) -> EndorsementKey:
    checks = Checks()
    manufacturer, model = _tpm_identity(leaf, checks)
    _check_leaf(leaf, checks)
    _check_validity(leaf, "EK certificate", now, checks)
    chain = _chain(leaf, trust.ek_certificates)
    if not chain:
        checks.fault(
            "EK certificate's issuer",
            expected=f"a chain to one of {len(trust.ek_certificates)} trusted certificates",
            observed=f"issued by {leaf.issuer.rfc4514_string() or 'nobody'}, which none of them has signed",
        )
    for depth, authority in enumerate(chain):
        _check_authority(authority, depth, checks)
        _check_validity(authority, authority.subject.rfc4514_string(), now, checks)
    if trust.policy.software_tpm is SoftwareTpm.REFUSE and model in trust.policy.software_models:
        checks.fault(
            "TPM model", expected="a hardware TPM", observed=f"{model}, which this policy knows as software"
        )
    key, protection = _protected_key(leaf, checks)
    checks.done(hint=_HINT)
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return EndorsementKey(
        public_key=key,
        protection=protection,
        manufacturer=manufacturer,
        model=model,
        spki_sha256=hashlib.sha256(spki).digest(),
        root=chain[-1].subject.rfc4514_string(),
    )


def _chain(leaf: x509.Certificate, known: Sequence[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    """Return the issuers of `leaf`, nearest first, up to one that signed itself; empty if there is no such
    path."""
    paths: list[tuple[x509.Certificate, ...]] = [(leaf,)]
    for _ in range(_DEPTH):
        longer = [(*path, candidate) for path in paths for candidate in known if _issued(path[-1], candidate)]
        for path in longer:
            if _issued(path[-1], path[-1]):
                return path[1:]
        paths = longer
    return ()


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Say whether names and signature fit; what the issuer may sign is checked once the chain is whole."""
    algorithm = certificate.signature_hash_algorithm
    if algorithm is None or algorithm.name not in _SIGNATURE_HASHES:
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, *MALFORMED):
        return False
    return True


def _check_leaf(leaf: x509.Certificate, checks: Checks) -> None:
    # EK Credential Profile 2.5, 3.2.16: the extended key usage tcg-kp-EKCertificate says what the key is.
    usages = _extension(leaf, x509.ExtendedKeyUsage)
    if usages is None or _EK_CERTIFICATE not in usages:
        checks.fault(
            "EK certificate's purpose",
            expected="tcg-kp-EKCertificate (2.23.133.8.1)",
            observed="another one, or none",
        )
    constraints = _extension(leaf, x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        checks.fault("EK certificate", expected="no authority", observed="basicConstraints CA")
    # Profile 3.2.14: keyEncipherment for RSA, keyAgreement for ECC; a key that also signs is not an EK.
    usage = _extension(leaf, x509.KeyUsage)
    if usage is not None and not (usage.key_encipherment or usage.key_agreement):
        checks.fault(
            "EK certificate's key usage",
            expected="keyEncipherment or keyAgreement",
            observed="neither",
        )
    _check_critical(leaf, "EK certificate", checks)


def _check_authority(authority: x509.Certificate, below: int, checks: Checks) -> None:
    """Check that `authority` may issue, with `below` authorities between it and the leaf (RFC 5280,
    6.1.4)."""
    who = authority.subject.rfc4514_string()
    constraints = _extension(authority, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        checks.fault(who, expected="basicConstraints CA", observed="no authority")
    elif constraints.path_length is not None and constraints.path_length < below:
        checks.fault(
            who, expected=f"at most {constraints.path_length} authorities below", observed=str(below)
        )
    usage = _extension(authority, x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        checks.fault(who, expected="key usage keyCertSign", observed="another one")
    _check_critical(authority, who, checks)


def _check_critical(certificate: x509.Certificate, who: str, checks: Checks) -> None:
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            checks.fault(
                who,
                expected="no critical extension that is unknown here",
                observed=extension.oid.dotted_string,
            )


def _check_validity(certificate: x509.Certificate, who: str, now: datetime, checks: Checks) -> None:
    first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not first <= now.astimezone(UTC) <= last:
        checks.fault(
            f"validity of {who}",
            expected=f"{first:%Y-%m-%d} to {last:%Y-%m-%d} to hold the present",
            observed=f"{now.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
        )


def _extension(certificate: x509.Certificate, kind: type[_ExtensionT]) -> _ExtensionT | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _tpm_identity(leaf: x509.Certificate, checks: Checks) -> tuple[str, str]:
    """Return (tpmManufacturer, tpmModel) of the subject alternative name (EK Credential Profile 2.5,
    3.2.9)."""
    names = _extension(leaf, x509.SubjectAlternativeName)
    directories = [] if names is None else names.get_values_for_type(x509.DirectoryName)
    found = {attribute.oid: str(attribute.value) for name in directories for attribute in name}
    for oid, what in ((_MANUFACTURER, "tpmManufacturer"), (_MODEL, "tpmModel")):
        if oid not in found:
            checks.fault("EK certificate's subject", expected=f"a {what}", observed="none")
    return found.get(_MANUFACTURER, ""), found.get(_MODEL, "")


def _protected_key(leaf: x509.Certificate, checks: Checks) -> tuple[PublicKey, Protection]:
    """Return the key and how its template protects what is sent to it; refuse the step for any other kind of
    key."""
    key = leaf.public_key()
    # EK Credential Profile 2.5, annex B: templates L-1, L-2 and H-1 to H-3, H-6 and H-7.
    if isinstance(key, rsa.RSAPublicKey) and key.key_size in _RSA:
        return key, _RSA[key.key_size]
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _ECC:
        return key, _ECC[key.curve.name]
    checks.fault(
        "endorsement key",
        expected="RSA of 2048, 3072 or 4096 bits, P-256 or P-384",
        observed=f"{type(key).__name__} of {getattr(key, 'key_size', 'unknown')} bits",
    )
    checks.refuse(hint=_HINT)
