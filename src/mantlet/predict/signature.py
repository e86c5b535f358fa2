# SPDX-License-Identifier: Apache-2.0
"""The Authenticode signature of an image (Microsoft, *Windows Authenticode PE Signature Format*; RFC 2315).

Owns the check that one certificate signed this very image: the digest inside, the signed attributes, the RSA
signature. Whether that certificate is trusted is the signature database's matter, see
`mantlet.predict.authorisation`.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from mantlet.predict import der
from mantlet.predict.pe import Image
from mantlet_measure.errors import DecodeError
from mantlet_measure.reader import Reader

# All that the library raises on bytes that are no certificate; the version has an error of its own.
UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion)

_REVISION = 0x0200
_CERTIFICATES_LIMIT = 32
_PKCS_SIGNED_DATA = 0x0002
_OID_SIGNED_DATA = bytes.fromhex("2a864886f70d010702")
_OID_MESSAGE_DIGEST = bytes.fromhex("2a864886f70d010904")
_OID_INDIRECT_DATA = bytes.fromhex("2b060104018237020104")
_OID_SHA256 = bytes.fromhex("608648016503040201")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """A certificate that signed the image, and the others that came with its signature, not verified."""

    certificate: x509.Certificate
    others: tuple[x509.Certificate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _SignedData:
    content: bytes
    certificates: tuple[bytes, ...]
    signer: tuple[bytes, bytes]
    attributes: der.Item
    signature: bytes


def signers(image: Image, digest: bytes) -> tuple[Signer, ...]:
    """Return who signed `image`, whose SHA-256 Authenticode hash is `digest`, in the order of the signatures.

    DecodeError when there is none, or when any of the signatures is not one of this image.
    """
    what = f"{image.what} signature"
    found = tuple(_signer(blob, digest, what) for blob in _certificate_table(image, what))
    if not found:
        raise DecodeError(
            what, expected="a signed image", found="no signature", hint="sign the image for Secure Boot"
        )
    return found


def _certificate_table(image: Image, what: str) -> Iterator[bytes]:
    """Yield PKCS#7 blobs of WIN_CERTIFICATE entries, each aligned to 8 bytes."""
    reader = Reader(bytes(image.certificates), what)
    while reader.left:
        start = reader.offset
        size, revision, kind = reader.u32le(), reader.u16le(), reader.u16le()
        if size < 8 or (revision, kind) != (_REVISION, _PKCS_SIGNED_DATA):
            reader.refuse(
                expected="PKCS#7 signed data", found=f"type 0x{kind:04x}, {size} bytes", offset=start
            )
        yield reader.take(size - 8)
        reader.take(min(-size % 8, reader.left))


def _signer(blob: bytes, digest: bytes, what: str) -> Signer:
    signed = _signed_data(blob, what)
    if (found := _image_digest(signed.content, what)) != digest:
        raise DecodeError(
            what,
            expected=f"a signature over {digest.hex()}, the hash of this image",
            found=found.hex(),
            hint="the image was changed after it was signed: build it again",
        )
    if _message_digest(signed.attributes, what) != hashlib.sha256(signed.content).digest():
        raise DecodeError(what, expected="signed attributes of its content", found="another message digest")
    for certificate in signed.certificates:
        if _issuer_and_serial(certificate, what) == signed.signer:
            others = (_certificate(other) for other in signed.certificates if other != certificate)
            return Signer(
                certificate=_verify(certificate, signed, what),
                others=tuple(other for other in others if other is not None),
            )
    raise DecodeError(
        what, expected="the signer's certificate inside", found="none of its issuer and serial number"
    )


def _signed_data(blob: bytes, what: str) -> _SignedData:
    """Take RFC 2315 SignedData with one signer apart."""
    outer = der.Values(_trim(blob), what).inside(der.SEQUENCE)
    _oid(outer, _OID_SIGNED_DATA)
    data = outer.inside(der.CONTEXT_0).inside(der.SEQUENCE)
    data.next(der.INTEGER)
    data.next(der.SET)
    content = data.inside(der.SEQUENCE)
    _oid(content, _OID_INDIRECT_DATA)
    indirect = content.inside(der.CONTEXT_0).next(der.SEQUENCE)
    certificates: list[bytes] = []
    if data.peek() == der.CONTEXT_0:
        inside = data.inside(der.CONTEXT_0)
        while inside.peek() is not None:
            certificates.append(inside.next(der.SEQUENCE).whole)
    if len(certificates) > _CERTIFICATES_LIMIT:
        raise DecodeError(
            what, expected=f"at most {_CERTIFICATES_LIMIT} certificates", found=str(len(certificates))
        )
    if data.peek() == der.CONTEXT_1:
        data.next(der.CONTEXT_1)
    infos = data.inside(der.SET)
    info = infos.inside(der.SEQUENCE)
    infos.end()
    info.next(der.INTEGER)
    name_and_serial = info.inside(der.SEQUENCE)
    issuer, serial = name_and_serial.next(der.SEQUENCE).whole, name_and_serial.next(der.INTEGER).content
    _oid(info.inside(der.SEQUENCE), _OID_SHA256)
    attributes = info.next(der.CONTEXT_0)
    info.next(der.SEQUENCE)
    return _SignedData(
        content=indirect.content,
        certificates=tuple(certificates),
        signer=(issuer, serial),
        attributes=attributes,
        signature=info.next(der.OCTET_STRING).content,
    )


def _trim(blob: bytes) -> bytes:
    """Cut the padding to 8 bytes that signers put inside the entry."""
    if len(blob) < 6 or blob[1] != 0x82:
        return blob
    size = 4 + int.from_bytes(blob[2:4], "big")
    return blob[:size] if len(blob) - size < 8 and not any(blob[size:]) else blob


def _oid(values: der.Values, wanted: bytes) -> None:
    found = values.next(der.OID).content
    if found != wanted:
        raise DecodeError(values.what, expected=f"object identifier {wanted.hex()}", found=found.hex())


def _image_digest(content: bytes, what: str) -> bytes:
    """Return the digest in SpcIndirectDataContent, which must be a SHA-256."""
    values = der.Values(content, what)
    values.next(der.SEQUENCE)
    info = values.inside(der.SEQUENCE)
    _oid(info.inside(der.SEQUENCE), _OID_SHA256)
    return info.next(der.OCTET_STRING).content


def _message_digest(attributes: der.Item, what: str) -> bytes:
    values = der.Values(attributes.content, what)
    while values.peek() is not None:
        attribute = values.inside(der.SEQUENCE)
        if attribute.next(der.OID).content == _OID_MESSAGE_DIGEST:
            return attribute.inside(der.SET).next(der.OCTET_STRING).content
    raise DecodeError(what, expected="a message digest attribute", found="none")


def _issuer_and_serial(certificate: bytes, what: str) -> tuple[bytes, bytes]:
    fields = der.Values(certificate, what).inside(der.SEQUENCE).inside(der.SEQUENCE)
    if fields.peek() == der.CONTEXT_0:
        fields.next(der.CONTEXT_0)
    serial = fields.next(der.INTEGER).content
    fields.next(der.SEQUENCE)
    return fields.next(der.SEQUENCE).whole, serial


def subject(certificate: x509.Certificate) -> str:
    """Return the name of a certificate for an error message; the library reads it when it is asked for."""
    try:
        return certificate.subject.rfc4514_string()
    except UNREADABLE:
        return "a name that cannot be read"


def _certificate(data: bytes) -> x509.Certificate | None:
    """Return a certificate that only came along; None where the library cannot read it."""
    try:
        return x509.load_der_x509_certificate(data)
    except UNREADABLE:
        return None


def _verify(certificate: bytes, signed: _SignedData, what: str) -> x509.Certificate:
    try:
        signer = x509.load_der_x509_certificate(certificate)
        key = signer.public_key()
    except UNREADABLE as error:
        raise DecodeError(what, expected="an X.509 certificate", found=str(error)) from None
    if not isinstance(key, RSAPublicKey):
        raise DecodeError(what, expected="an RSA key, as Secure Boot has", found=type(key).__name__)
    # RFC 2315, 9.3: the attributes are signed as a SET, whatever tag they carry in the message.
    message = bytes([der.SET]) + signed.attributes.whole[1:]
    try:
        key.verify(signed.signature, message, PKCS1v15(), SHA256())
    except InvalidSignature:
        raise DecodeError(
            what, expected="a valid RSA signature", found="another", hint="sign the image again"
        ) from None
    return signer
