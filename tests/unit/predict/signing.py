# SPDX-License-Identifier: Apache-2.0
"""An Authenticode signer with knobs: what a signature says and leaves out is the test's to choose."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tests.unit.predict import synthetic

_SHA256 = "0609608648016503040201"


def tlv(tag: int, *contents: bytes) -> bytes:
    """One DER value."""
    content = b"".join(contents)
    if len(content) < 0x80:
        return bytes([tag, len(content)]) + content
    size = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + content


def _algorithm(oid: str = _SHA256) -> bytes:
    return tlv(0x30, bytes.fromhex(oid), b"\x05\x00")


@cache
def rsa_key() -> rsa.RSAPrivateKey:
    """A key of the whole test run."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def certificate(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """A self-signed certificate of this key."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test signer")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 4711)
    builder = builder.not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
    return builder.not_valid_after(datetime(2036, 1, 1, tzinfo=UTC)).sign(key, SHA256())


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """What to write into the signature; the defaults make a good one."""

    digest: bytes
    message_digest: bytes | None = None
    with_message_digest: bool = True
    digest_oid: str = _SHA256
    content_oid: str = "060a2b060104018237020104"
    certificates: Sequence[bytes] | None = field(default=None)
    serial: int = 4711
    revocation_lists: bool = False


def pkcs7(knobs: Knobs) -> bytes:
    """RFC 2315 SignedData over SpcIndirectDataContent, signed with `rsa_key()`."""
    signer = certificate(rsa_key())
    content = tlv(0x30, bytes.fromhex("060a2b06010401823702010f"), b"\x30\x00")
    content += tlv(0x30, _algorithm(knobs.digest_oid), tlv(0x04, knobs.digest))
    message = knobs.message_digest or hashlib.sha256(content).digest()
    # contentType comes first, as its object identifier is lower than that of messageDigest.
    kind = tlv(0x30, bytes.fromhex("06092a864886f70d010903"), tlv(0x31, bytes.fromhex(knobs.content_oid)))
    digest = tlv(0x30, bytes.fromhex("06092a864886f70d010904"), tlv(0x31, tlv(0x04, message)))
    attributes = kind + (digest if knobs.with_message_digest else b"")
    signature = rsa_key().sign(tlv(0x31, attributes), padding.PKCS1v15(), SHA256())
    info = tlv(
        0x30,
        b"\x02\x01\x01",
        tlv(0x30, signer.issuer.public_bytes(), tlv(0x02, knobs.serial.to_bytes(2, "big"))),
        _algorithm(),
        tlv(0xA0, attributes),
        _algorithm("06092a864886f70d010101"),
        tlv(0x04, signature),
    )
    certificates = [signer.public_bytes(Encoding.DER)] if knobs.certificates is None else knobs.certificates
    data = tlv(
        0x30,
        b"\x02\x01\x01",
        tlv(0x31, _algorithm()),
        tlv(0x30, bytes.fromhex(knobs.content_oid), tlv(0xA0, tlv(0x30, content))),
        tlv(0xA0, *certificates) if certificates else b"",
        tlv(0xA1) if knobs.revocation_lists else b"",
        tlv(0x31, info),
    )
    return tlv(0x30, bytes.fromhex("06092a864886f70d010702"), tlv(0xA0, data))


def entry(blob: bytes, *, kind: int = 2) -> bytes:
    """One WIN_CERTIFICATE, padded to 8 bytes."""
    whole = (8 + len(blob)).to_bytes(4, "little") + b"\x00\x02" + kind.to_bytes(2, "little") + blob
    return whole + bytes(-len(whole) % 8)


def attach(image: bytes, table: bytes) -> bytes:
    """Put a certificate table behind an unsigned image and point its directory there."""
    at = synthetic.OPTIONAL + 144
    placed = synthetic.patched(image, at, len(image), 4)
    return synthetic.patched(placed, at + 4, len(table), 4) + table
