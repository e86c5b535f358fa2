# SPDX-License-Identifier: Apache-2.0
"""The execution policy is signed in the form that the kernel opens, by `db` and nobody else.

What the kernel makes of it is shown by machines; here the second reader is the audit's own, and the form is
read by hand.
"""

import hashlib
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mantlet.audit import signed_data
from mantlet.audit.checks import execution
from mantlet.audit.image import Signature
from mantlet.edge import execution_policy
from mantlet.edge.keys import KeyFolder
from mantlet.predict import der
from mantlet_measure.errors import DecodeError

WHAT = "policy"
# As a policy has them: line feeds that S/MIME would turn into others, and no end of line.
TEXT = (
    b"policy_name=test policy_version=1.0.0\nDEFAULT action=DENY\nop=EXECUTE boot_verified=TRUE action=ALLOW"
)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyFolder:
    """Keys of a checkout."""
    return made(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> KeyFolder:
    """Keys of another checkout."""
    return made(tmp_path_factory.mktemp("stranger"))


def made(folder: Path) -> KeyFolder:
    """A folder with the keys of Secure Boot."""
    keys = KeyFolder(folder)
    keys.secure_boot()
    return keys


def certificate(keys: KeyFolder) -> x509.Certificate:
    """The certificate of `db`."""
    return x509.load_pem_x509_certificate((keys.folder / "db.pem").read_bytes())


def judged(blob: bytes, keys: KeyFolder) -> Signature:
    """What a signed policy is worth for a kernel that trusts the `db` of `keys`."""
    return signed_data.judge(blob, None, [certificate(keys)], what=WHAT).signature


def test_a_policy_is_signed_by_db_with_the_text_inside_byte_for_byte(keys: KeyFolder) -> None:
    blob = execution_policy.sign(TEXT, keys.folder)
    assert judged(blob, keys) is Signature.SOUND
    assert signed_data.decode(blob, what=WHAT).content == TEXT
    assert execution.decode(TEXT.decode()).defaults["EXECUTE"] == "DENY"


def test_the_signature_is_of_the_bytes_alone(keys: KeyFolder) -> None:
    signer = signed_data.decode(execution_policy.sign(TEXT, keys.folder), what=WHAT).signer
    key = certificate(keys).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    digest = hashlib.sha256(TEXT).digest()
    key.verify(signer.signature, digest, padding.PKCS1v15(), Prehashed(SHA256()))
    with pytest.raises(InvalidSignature):
        key.verify(signer.signature, bytes(32), padding.PKCS1v15(), Prehashed(SHA256()))


def test_the_form_is_der_without_attributes_and_without_certificates(keys: KeyFolder) -> None:
    blob = execution_policy.sign(TEXT, keys.folder)
    message = signed_data.decode(blob, what=WHAT)
    assert (message.certificates, message.signer.attributes) == ((), b"")
    assert message.signer.digest is SHA256
    assert (message.signer.issuer, message.signer.serial) == (
        certificate(keys).issuer.public_bytes(),
        certificate(keys).serial_number,
    )
    # One value and nothing behind it: the kernel refuses what is longer than it says.
    outer = der.Values(blob, WHAT)
    outer.inside(der.SEQUENCE)
    outer.end()


def test_the_same_text_and_key_give_the_same_bytes(keys: KeyFolder, stranger: KeyFolder) -> None:
    blob = execution_policy.sign(TEXT, keys.folder)
    assert execution_policy.sign(TEXT, keys.folder) == blob
    assert execution_policy.sign(TEXT + b"\n", keys.folder) != blob
    assert execution_policy.sign(TEXT, stranger.folder) != blob


@pytest.mark.parametrize("place", ["text", "signature"])
def test_attack_by_one_flipped_bit_does_not_verify(keys: KeyFolder, place: str) -> None:
    blob = execution_policy.sign(TEXT, keys.folder)
    at = blob.index(b"DENY") if place == "text" else len(blob) - 1
    altered = blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :]
    assert judged(altered, keys) is Signature.BROKEN


def test_attack_by_a_policy_of_another_key_is_not_sound(keys: KeyFolder, stranger: KeyFolder) -> None:
    blob = execution_policy.sign(TEXT, stranger.folder)
    assert judged(blob, stranger) is Signature.SOUND
    assert judged(blob, keys) is not Signature.SOUND


def test_a_key_that_is_not_the_certificates_is_refused(
    keys: KeyFolder, stranger: KeyFolder, tmp_path: Path
) -> None:
    (tmp_path / "db.pem").write_bytes((keys.folder / "db.pem").read_bytes())
    (tmp_path / "db.key").write_bytes((stranger.folder / "db.key").read_bytes())
    with pytest.raises(DecodeError, match=r"db\.pem: expected the certificate of db\.key") as refused:
        execution_policy.sign(TEXT, tmp_path)
    assert "build again" in refused.value.hint


def test_a_key_that_is_not_rsa_is_refused(keys: KeyFolder, tmp_path: Path) -> None:
    (tmp_path / "db.pem").write_bytes((keys.folder / "db.pem").read_bytes())
    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "db.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(DecodeError, match=r"db\.key: expected an RSA key"):
        execution_policy.sign(TEXT, tmp_path)


def test_each_policy_of_a_tree_is_replaced_by_its_signed_form_and_nothing_else(
    keys: KeyFolder, tmp_path: Path
) -> None:
    folders = [tmp_path / "usr/lib/ipe", tmp_path / "mkosi.images/initrd/mkosi.extra/usr/lib/ipe"]
    for number, folder in enumerate(folders):
        folder.mkdir(parents=True)
        (folder / "a.policy").write_bytes(TEXT + b"%d" % number)
        (folder / "a.txt").write_bytes(b"text")
    (tmp_path / "other.policy").write_bytes(TEXT)
    execution_policy.sign_all(tmp_path, keys)
    for number, folder in enumerate(folders):
        assert sorted(path.name for path in folder.iterdir()) == ["a.p7b", "a.txt"]
        blob = (folder / "a.p7b").read_bytes()
        assert judged(blob, keys) is Signature.SOUND
        assert signed_data.decode(blob, what=WHAT).content == TEXT + b"%d" % number
    assert (tmp_path / "other.policy").read_bytes() == TEXT
