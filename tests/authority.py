# SPDX-License-Identifier: Apache-2.0
"""A simulated TPM manufacturer: a root, an intermediate, and certificates for endorsement keys.

The certificates have the extensions that swtpm_localca gives them (TCG EK Credential Profile), each with a
knob.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

EK_USAGE = x509.ObjectIdentifier("2.23.133.8.1")
FIRST = datetime(2025, 1, 1, tzinfo=UTC)
LAST = datetime(2035, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 6, 1, tzinfo=UTC)


@dataclass(kw_only=True)
class Authority:
    """A manufacturer; a knob set to something else makes certificates that must be refused."""

    common_name: str = "Example TPM"
    model: str = "swtpm"
    usage: x509.ObjectIdentifier = EK_USAGE
    ek_last: datetime = LAST
    intermediate_last: datetime = LAST
    intermediate_is_authority: bool = True
    intermediate_may_sign: bool = True
    root_path_length: int | None = None
    ek_is_authority: bool = False
    extra_critical: bool = False
    digest: hashes.SHA256 | hashes.SHA224 = field(default_factory=hashes.SHA256)
    root_key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    middle_key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    @property
    def root(self) -> x509.Certificate:
        """The root, signed by itself."""
        builder = self._builder(
            f"{self.common_name} root", f"{self.common_name} root", self.root_key.public_key(), LAST
        )
        builder = builder.add_extension(
            x509.BasicConstraints(ca=True, path_length=self.root_path_length), critical=True
        )
        return builder.add_extension(_key_usage(sign=True), critical=True).sign(
            self.root_key, hashes.SHA256()
        )

    @property
    def intermediate(self) -> x509.Certificate:
        """The intermediate, signed by the root."""
        builder = self._builder(
            self.common_name, f"{self.common_name} root", self.middle_key.public_key(), self.intermediate_last
        )
        builder = builder.add_extension(
            x509.BasicConstraints(ca=self.intermediate_is_authority, path_length=None), critical=True
        )
        usage = _key_usage(sign=self.intermediate_may_sign)
        return builder.add_extension(usage, critical=True).sign(self.root_key, hashes.SHA256())

    @property
    def certificates(self) -> tuple[x509.Certificate, ...]:
        """What a relying party puts into --ek-roots."""
        return (self.root, self.intermediate)

    def certify(self, key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> bytes:
        """The DER certificate of an endorsement key."""
        tpm = x509.Name(
            [
                x509.NameAttribute(x509.ObjectIdentifier("2.23.133.2.1"), "id:00001014"),
                x509.NameAttribute(x509.ObjectIdentifier("2.23.133.2.2"), self.model),
                x509.NameAttribute(x509.ObjectIdentifier("2.23.133.2.3"), "id:20240125"),
            ]
        )
        builder = self._builder("unknown", self.common_name, key, self.ek_last)
        builder = builder.add_extension(x509.ExtendedKeyUsage([self.usage]), critical=False)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DirectoryName(tpm)]), critical=True)
        builder = builder.add_extension(
            x509.BasicConstraints(ca=self.ek_is_authority, path_length=None), critical=True
        )
        builder = builder.add_extension(_key_usage(sign=False), critical=True)
        if self.extra_critical:
            unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
            builder = builder.add_extension(unknown, critical=True)
        return builder.sign(self.middle_key, self.digest).public_bytes(Encoding.DER)

    def _builder(
        self, subject: str, issuer: str, key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey, last: datetime
    ) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder(
            subject_name=_named(subject), issuer_name=_named(issuer), public_key=key
        )
        return builder.serial_number(1).not_valid_before(FIRST).not_valid_after(last)


def _named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _key_usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=not sign,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
