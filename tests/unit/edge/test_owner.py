# SPDX-License-Identifier: Apache-2.0
"""The model owner's key as a file: what is taken for one, and what is not."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from mantlet.edge import owner
from mantlet_measure import dsse
from mantlet_measure.errors import DecodeError

PRIVATE = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
PUBLIC = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def test_a_private_key_stands_for_its_public_one(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    (tmp_path / "private").write_bytes(key.private_bytes(*PRIVATE))
    (tmp_path / "public").write_bytes(key.public_key().public_bytes(*PUBLIC))
    for name in ("private", "public"):
        (trusted,) = owner.trusted_keys(tmp_path / name)
        assert dsse.keyid(trusted) == dsse.keyid(key.public_key())


def test_several_public_keys_may_stand_in_one_file(tmp_path: Path) -> None:
    keys = [Ed25519PrivateKey.generate().public_key() for _ in range(3)]
    (tmp_path / "keys").write_bytes(b"".join(key.public_bytes(*PUBLIC) for key in keys))
    assert [dsse.keyid(key) for key in owner.trusted_keys(tmp_path / "keys")] == list(map(dsse.keyid, keys))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"something else",
        ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(*PUBLIC),
        ec.generate_private_key(ec.SECP256R1()).private_bytes(*PRIVATE),
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    ],
    ids=["empty", "text", "P-256 public", "P-256 private", "damaged"],
)
def test_another_kind_of_key_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    for read in (owner.trusted_keys, owner.signing_key):
        with pytest.raises(DecodeError, match="owner key"):
            read(path)
