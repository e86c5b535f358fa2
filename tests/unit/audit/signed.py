# SPDX-License-Identifier: Apache-2.0
"""Detached signatures by keys of the test run, as kernels take them: of modules, root hashes, policies."""

import struct
from datetime import UTC, datetime
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import PKCS7Options, PKCS7SignatureBuilder
from cryptography.x509.oid import NameOID

from tests.unit.predict import signing

# The name of the key that signs UKIs in the tests.
FIRMWARE = "firmware"


@cache
def key(name: str = "audit") -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    """The key of this name."""
    if name == FIRMWARE:
        return signing.rsa_key()
    return ec.generate_private_key(ec.SECP384R1())


@cache
def certificate(name: str = "audit") -> x509.Certificate:
    """Its certificate, signed by itself."""
    if name == FIRMWARE:
        return signing.certificate(signing.rsa_key())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder(subject, subject, key(name).public_key(), 4711)
    builder = builder.not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
    builder = builder.not_valid_after(datetime(2036, 1, 1, tzinfo=UTC))
    identifier = x509.SubjectKeyIdentifier.from_public_key(key(name).public_key())
    return builder.add_extension(identifier, critical=False).sign(key(name), SHA256())


def message(content: bytes, *options: PKCS7Options, name: str = "audit") -> bytes:
    """A signature of `content`, in DER: whatever else the options say, of the bytes as they are."""
    builder = PKCS7SignatureBuilder().set_data(content)
    builder = builder.add_signer(certificate(name), key(name), SHA256())
    return builder.sign(Encoding.DER, [PKCS7Options.Binary, *options])


def detached(content: bytes, *, name: str = "audit") -> bytes:
    """A signature that names its signer and brings nothing, as that of a module."""
    return message(
        content,
        PKCS7Options.DetachedSignature,
        PKCS7Options.NoAttributes,
        PKCS7Options.NoCerts,
        name=name,
    )


def module(content: bytes, *, signature: bytes | None = None) -> bytes:
    """A kernel module with its signature behind it (Linux, include/linux/module_signature.h)."""
    blob = detached(content) if signature is None else signature
    return content + blob + struct.pack(">2xB5xI", 2, len(blob)) + b"~Module signature appended~\n"
