# SPDX-License-Identifier: Apache-2.0
"""The keys of this checkout, made on first use under an ignored folder.

`PK`, `KEK` and `db` are Secure Boot's (RSA-2048, as UEFI asks for); `db` also signs the root hash.
`deployment` signs deployment documents, `owner` the descriptors of packs and `release` the statements of
releases (all Ed25519), `policy` approves PCR policies for sealed keys (ECDSA P-256). Each is a `.key` that
only its owner reads, and a `.pem` for everybody.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from mantlet.edge import files
from mantlet_measure.errors import DecodeError

_PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | Ed25519PrivateKey
_LIMIT = 1 << 16
_DEBUG = "debug"
# Firmware does not look at the validity of Secure Boot certificates; tools do.
_NOT_BEFORE = datetime(2020, 1, 1, tzinfo=UTC)
_NOT_AFTER = datetime(2049, 12, 31, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class KeyFolder:
    """The folder of the keys. A method that names a key makes it when it is missing.

    debug: whether they sign debug images; their certificates say so in their subjects.
    """

    folder: Path
    debug: bool = False

    def secure_boot(self) -> None:
        """Make PK, KEK and db with self-signed certificates, those that are missing.

        DecodeError for a certificate whose subject says that it is for the other kind of image.
        """
        for name in ("PK", "KEK", "db"):
            self._ensure(
                name,
                lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
                _debug_certificate if self.debug else _certificate,
            )
            self._require_kind(self.folder / f"{name}.pem")

    def deployment(self) -> Ed25519PrivateKey:
        """The key that signs deployment documents."""
        return self._signing("deployment")

    def owner(self) -> Ed25519PrivateKey:
        """The model owner's key, which signs the descriptors of packs."""
        return self._signing("owner")

    def release(self) -> Ed25519PrivateKey:
        """The key that releases builds."""
        return self._signing("release")

    def policy(self) -> Path:
        """The file of the key that approves PCR policies."""
        key = self._ensure("policy", lambda: ec.generate_private_key(ec.SECP256R1()), _public_key)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise self._foreign("policy", "ECDSA P-256", key)
        return self.folder / "policy.key"

    def _require_kind(self, path: Path) -> None:
        """Refuse a release's certificate for a debug image, and the other way round."""
        data = files.read(path, limit=_LIMIT, what="certificate")
        try:
            subject = x509.load_pem_x509_certificate(data).subject.rfc4514_string()
        except ValueError as problem:
            raise DecodeError(
                f"certificate {path}",
                expected="a certificate in PEM",
                found=str(problem),
                hint=f"restore or remove {path}",
            ) from None
        if (_DEBUG in subject.lower().replace("=", " ").split()) != self.debug:
            raise DecodeError(
                f"certificate {path}",
                expected=f"one for {'debug' if self.debug else 'release'} images",
                found=f"the subject {subject}",
                hint="a key signs the one kind of image or the other; restore the key that belongs here",
            )

    def _signing(self, name: str) -> Ed25519PrivateKey:
        key = self._ensure(name, Ed25519PrivateKey.generate, _public_key)
        if not isinstance(key, Ed25519PrivateKey):
            raise self._foreign(name, "Ed25519", key)
        return key

    def _ensure(
        self, name: str, generate: Callable[[], _PrivateKey], publish: Callable[[str, _PrivateKey], bytes]
    ) -> _PrivateKey:
        secret, public = self.folder / f"{name}.key", self.folder / f"{name}.pem"
        if secret.exists():
            key = self._load(secret)
        else:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            key = generate()
            pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            files.write_atomic(secret, pem, mode=0o600)
        if not public.exists():
            files.write_atomic(public, publish(name, key))
        return key

    def _load(self, path: Path) -> _PrivateKey:
        data = files.read(path, limit=_LIMIT, what="key")
        try:
            key = load_pem_private_key(data, password=None)
        except (ValueError, TypeError) as problem:
            raise DecodeError(
                f"key {path}",
                expected="a private key in PEM",
                found=str(problem),
                hint=f"restore or remove {path}",
            ) from None
        if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | Ed25519PrivateKey):
            raise self._foreign(path.stem, "RSA, ECDSA or Ed25519", key)
        return key

    def _foreign(self, name: str, expected: str, key: object) -> DecodeError:
        path = self.folder / f"{name}.key"
        return DecodeError(
            f"key {path}",
            expected=f"an {expected} private key",
            found=type(key).__name__,
            hint=f"restore or remove {path}; it is made anew when it is missing",
        )


def _public_key(_name: str, key: _PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _debug_certificate(name: str, key: _PrivateKey) -> bytes:
    return _certificate(f"{_DEBUG} {name}", key)


def _certificate(name: str, key: _PrivateKey) -> bytes:
    """A self-signed certificate in PEM: UEFI wants one, and looks at its key alone."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"Mantlet {name}")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
