# SPDX-License-Identifier: Apache-2.0
"""Keys are made once, only their owner reads them, and a foreign one is not silently replaced."""

import stat
from pathlib import Path

import pytest
from cryptography import x509

from mantlet.edge.keys import KeyFolder
from mantlet_measure.errors import DecodeError


def test_keys_are_made_on_first_use_and_stay(tmp_path: Path) -> None:
    keys = KeyFolder(tmp_path / "keys")
    keys.secure_boot()
    keys.deployment()
    keys.owner()
    keys.policy()
    before = {path.name: path.read_bytes() for path in keys.folder.iterdir()}
    assert set(before) == {
        f"{name}.{form}"
        for name in ("PK", "KEK", "db", "deployment", "owner", "policy")
        for form in ("key", "pem")
    }
    KeyFolder(tmp_path / "keys").secure_boot()
    assert {path.name: path.read_bytes() for path in keys.folder.iterdir()} == before


def test_only_the_owner_reads_private_keys(tmp_path: Path) -> None:
    keys = KeyFolder(tmp_path / "keys")
    keys.policy()
    assert stat.S_IMODE(keys.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((keys.folder / "policy.key").stat().st_mode) == 0o600


def test_secure_boot_certificates_are_rsa_2048_as_uefi_asks_for(tmp_path: Path) -> None:
    keys = KeyFolder(tmp_path)
    keys.secure_boot()
    for name in ("PK", "KEK", "db"):
        certificate = x509.load_pem_x509_certificate((tmp_path / f"{name}.pem").read_bytes())
        assert certificate.public_key().key_size == 2048  # type: ignore[union-attr]  # others have no size
        certificate.verify_directly_issued_by(certificate)


@pytest.mark.parametrize("content", [b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_broken_key_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "deployment.key"
    path.write_bytes(content)
    with pytest.raises(DecodeError, match="deployment"):
        KeyFolder(tmp_path).deployment()
    assert path.read_bytes() == content


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    KeyFolder(tmp_path).policy()
    (tmp_path / "policy.key").rename(tmp_path / "deployment.key")
    with pytest.raises(DecodeError, match="Ed25519"):
        KeyFolder(tmp_path).deployment()
