# SPDX-License-Identifier: Apache-2.0
"""Sign what the kernel may execute: an IPE policy in the envelope that the kernel opens.

Owns the form: PKCS #7 in DER with the text inside, without signed attributes and without certificates (Linux,
Documentation/admin-guide/LSM/ipe.rst). The key is Secure Boot's `db`, which the kernel's platform keyring
holds. What the policy says is in `image/`; PID 1 of the initrd loads it (systemd, `src/core/ipe-setup.c`).
"""

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key, pkcs7

from mantlet.edge.keys import KeyFolder
from mantlet_measure.errors import DecodeError

TEXT, SIGNED = ".policy", ".p7b"
_OPTIONS = (pkcs7.PKCS7Options.Binary, pkcs7.PKCS7Options.NoAttributes, pkcs7.PKCS7Options.NoCerts)


def sign_all(tree: Path, keys: KeyFolder) -> None:
    """Replace each `usr/lib/ipe/NAME.policy` below `tree` by its signed form. Raises like `sign`."""
    for text in sorted(tree.rglob(f"usr/lib/ipe/*{TEXT}")):
        text.with_suffix(SIGNED).write_bytes(sign(text.read_bytes(), keys.folder))
        text.unlink()


def sign(text: bytes, folder: Path) -> bytes:
    """Sign a policy with `db` of a key folder: DER, the same for the same text and key.

    DecodeError on a key of another kind, and on a certificate of another key: the kernel would refuse it.
    """
    key = load_pem_private_key((folder / "db.key").read_bytes(), None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise DecodeError(
            "db.key", expected="an RSA key", found=type(key).__name__, hint="delete keys/db.* and build again"
        )
    certificate = x509.load_pem_x509_certificate((folder / "db.pem").read_bytes())
    if certificate.public_key() != key.public_key():
        raise DecodeError(
            "db.pem",
            expected="the certificate of db.key",
            found="that of another key",
            hint="restore the pair, or delete keys/db.* and build again",
        )
    builder = pkcs7.PKCS7SignatureBuilder().set_data(text).add_signer(certificate, key, hashes.SHA256())
    return builder.sign(Encoding.DER, _OPTIONS)
