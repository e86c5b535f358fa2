# SPDX-License-Identifier: Apache-2.0
"""Signatures as the kernel takes them: of root hashes, of modules, of policies (RFC 5652, SignedData).

Owns the reading of the message and the check under certificates that the caller has: the message brings its
own rarely, and names its signer by issuer and number or by key. Whether a certificate is trusted is not said.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm

from mantlet.audit.image import Signature
from mantlet.predict import der
from mantlet.predict.signature import UNREADABLE, subject
from mantlet_measure.errors import DecodeError

LIMIT = 64 << 10
_SIGNED_DATA = bytes.fromhex("2a864886f70d010702")
_MESSAGE_DIGEST = bytes.fromhex("2a864886f70d010904")
# RFC 5652, 5.3: SignerIdentifier, by key; IMPLICIT.
_KEY_ID = 0x80
_DIGESTS: dict[bytes, type[SHA256] | type[SHA384] | type[SHA512]] = {
    bytes.fromhex("608648016503040201"): SHA256,
    bytes.fromhex("608648016503040202"): SHA384,
    bytes.fromhex("608648016503040203"): SHA512,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """Who signed, by issuer (DER) and number or by the identifier of the key, and what was signed how."""

    issuer: bytes
    serial: int
    key: bytes
    digest: type[HashAlgorithm]
    attributes: bytes
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedData:
    """A message: its one signer, the content if it has it, the certificates that came along."""

    signer: Signer
    content: bytes
    certificates: tuple[x509.Certificate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a signature is worth, and the subject of the certificate that it names, if that is at hand."""

    signature: Signature
    signer: str = ""


def judge(blob: bytes, content: bytes | None, trusted: Iterable[x509.Certificate], *, what: str) -> Verdict:
    """Check a message over `content` (None: over the content in the message).

    SOUND: under one of `trusted`. FOREIGN: under a certificate that came along. UNKNOWN: its signer is none
    of these. BROKEN: it is no such message, or does not verify.
    """
    try:
        message = decode(blob, what=what)
    except DecodeError:
        return Verdict(signature=Signature.BROKEN)
    signed = message.content if content is None else content
    for certificates, sound in ((trusted, Signature.SOUND), (message.certificates, Signature.FOREIGN)):
        for certificate in certificates:
            if _named(message.signer, certificate):
                verified = _verified(message.signer, signed, certificate, what=what)
                return Verdict(signature=sound if verified else Signature.BROKEN, signer=subject(certificate))
    return Verdict(signature=Signature.UNKNOWN)


def decode(blob: bytes, *, what: str) -> SignedData:
    """Take a message of one signer apart. DecodeError on everything else."""
    if len(blob) > LIMIT:
        raise DecodeError(what, expected=f"at most {LIMIT} bytes", found=str(len(blob)))
    outer = der.Values(blob, what).inside(der.SEQUENCE)
    _oid(outer, _SIGNED_DATA)
    data = outer.inside(der.CONTEXT_0).inside(der.SEQUENCE)
    data.next(der.INTEGER)
    data.next(der.SET)
    inner = data.inside(der.SEQUENCE)
    inner.next(der.OID)
    content = b""
    if inner.peek() == der.CONTEXT_0:
        content = inner.inside(der.CONTEXT_0).next(der.OCTET_STRING).content
    certificates: tuple[x509.Certificate, ...] = ()
    if data.peek() == der.CONTEXT_0:
        certificates = tuple(_certificates(data.next(der.CONTEXT_0).content, what))
    if data.peek() == der.CONTEXT_1:
        data.next(der.CONTEXT_1)
    infos = data.inside(der.SET)
    info = infos.inside(der.SEQUENCE)
    infos.end()
    return SignedData(signer=_signer(info, what), content=content, certificates=certificates)


def _certificates(content: bytes, what: str) -> Iterator[x509.Certificate]:
    inside = der.Values(content, what)
    while inside.peek() is not None:
        try:
            yield x509.load_der_x509_certificate(inside.next(der.SEQUENCE).whole)
        except UNREADABLE:
            continue


def _signer(info: der.Values, what: str) -> Signer:
    info.next(der.INTEGER)
    issuer, serial, key = b"", 0, b""
    if info.peek() == _KEY_ID:
        key = info.next(_KEY_ID).content
    else:
        name = info.inside(der.SEQUENCE)
        issuer = name.next(der.SEQUENCE).whole
        serial = int.from_bytes(name.next(der.INTEGER).content, "big", signed=True)
    algorithm = info.inside(der.SEQUENCE).next(der.OID).content
    digest = _DIGESTS.get(algorithm)
    if digest is None:
        raise DecodeError(what, expected="SHA-256, SHA-384 or SHA-512", found=f"algorithm {algorithm.hex()}")
    attributes = info.next(der.CONTEXT_0).whole if info.peek() == der.CONTEXT_0 else b""
    info.next(der.SEQUENCE)
    return Signer(
        issuer=issuer,
        serial=serial,
        key=key,
        digest=digest,
        attributes=attributes,
        signature=info.next(der.OCTET_STRING).content,
    )


def _named(signer: Signer, certificate: x509.Certificate) -> bool:
    try:
        if signer.key:
            return signer.key == _key_identifier(certificate)
        return (signer.issuer, signer.serial) == (
            certificate.issuer.public_bytes(),
            certificate.serial_number,
        )
    except UNREADABLE:
        return False


def _key_identifier(certificate: x509.Certificate) -> bytes:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        return b""


def _verified(signer: Signer, content: bytes, certificate: x509.Certificate, *, what: str) -> bool:
    message = content
    if signer.attributes:
        digest = hashlib.new(signer.digest().name, content).digest()
        if _message_digest(signer.attributes, what) != digest:
            return False
        # RFC 5652, 5.4: the attributes are signed as a SET, whatever tag they carry in the message.
        message = bytes([der.SET]) + signer.attributes[1:]
    try:
        key = certificate.public_key()
        if isinstance(key, RSAPublicKey):
            key.verify(signer.signature, message, PKCS1v15(), signer.digest())
        elif isinstance(key, EllipticCurvePublicKey):
            key.verify(signer.signature, message, ECDSA(signer.digest()))
        else:
            return False
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True


def _message_digest(attributes: bytes, what: str) -> bytes:
    try:
        values = der.Values(attributes, what).inside(der.CONTEXT_0)
        while values.peek() is not None:
            attribute = values.inside(der.SEQUENCE)
            if attribute.next(der.OID).content == _MESSAGE_DIGEST:
                return attribute.inside(der.SET).next(der.OCTET_STRING).content
    except DecodeError:
        return b""
    return b""


def _oid(values: der.Values, wanted: bytes) -> None:
    found = values.next(der.OID).content
    if found != wanted:
        raise DecodeError(values.what, expected=f"object identifier {wanted.hex()}", found=found.hex())
