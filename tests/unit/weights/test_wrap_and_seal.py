# SPDX-License-Identifier: Apache-2.0
"""Sealing without a TPM: the wrap opens with the parent's private key, and with nothing else.

The second source is a TPM: tests/tpm/test_sealing_interoperates.py. Here the private half is done by hand.
"""

import dataclasses
import hashlib
import hmac
import secrets

import pytest
from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from mantlet.tpm.protected_storage import kdfa, kdfe
from mantlet.weights.approve import policy_key_public
from mantlet.weights.policy import pcr_policy, pcr_selection
from mantlet.weights.seal import SealedModel, seal
from mantlet.weights.wrap import data_object, wrap
from mantlet_measure import sealed
from mantlet_measure.errors import MantletError
from mantlet_measure.pcr import BANKS, ENFORCED, Bank
from mantlet_measure.policy import authorize_policy
from mantlet_measure.reader import Reader
from mantlet_measure.tpm_structs import (
    Algorithm,
    Attribute,
    EccParameters,
    KeyedHashParameters,
    Public,
    Scheme,
    Symmetric,
    decode_public,
    encode_public,
    name,
)

MODEL = SealedModel(id="tiny", root_hash=bytes(32))
EXPECTED = {bank: {register: bank.digest(bytes([register])) for register in ENFORCED} for bank in BANKS}
DATA_KEY = bytes(range(32))
POLICY_KEY = ec.generate_private_key(ec.SECP256R1())
STORAGE = Attribute.FIXED_TPM | Attribute.FIXED_PARENT | Attribute.RESTRICTED | Attribute.DECRYPT


def storage_key(private: ec.EllipticCurvePrivateKey, **changes: object) -> bytes:
    numbers = private.public_key().public_numbers()
    parameters = EccParameters(
        symmetric=Symmetric(key_bits=128),
        scheme=Scheme(),
        curve=3,
        kdf=Scheme(),
        x=numbers.x.to_bytes(32, "big"),
        y=numbers.y.to_bytes(32, "big"),
    )
    area = Public(name_alg=Algorithm.SHA256, attributes=STORAGE, auth_policy=b"", parameters=parameters)
    return encode_public(dataclasses.replace(area, **changes))  # type: ignore[arg-type]  # any member


def opened(key: sealed.SealedKey, parent: ec.EllipticCurvePrivateKey) -> bytes:
    """Do with the parent's private key what TPM2_Import does, and return the sensitive data."""
    point = Reader(key.encrypted_seed, "point")
    x, y = point.sized16be(32), point.sized16be(32)
    point.end()
    ephemeral = ec.EllipticCurvePublicNumbers(
        int.from_bytes(x, "big"), int.from_bytes(y, "big"), ec.SECP256R1()
    )
    z = parent.exchange(ec.ECDH(), ephemeral.public_key())
    own = parent.public_key().public_numbers().x.to_bytes(32, "big")
    seed = kdfe("sha256", z, "DUPLICATE", (x, own), 256)
    wrapped = Reader(key.duplicate, "duplicate")
    tag, ciphertext = wrapped.sized16be(32), wrapped.rest()
    bound = ciphertext + name(key.object_public)
    assert tag == hmac.digest(kdfa("sha256", seed, "INTEGRITY", (b"", b""), 256), bound, "sha256")
    cipher = Cipher(
        algorithms.AES(kdfa("sha256", seed, "STORAGE", (name(key.object_public), b""), 128)), CFB(bytes(16))
    )
    sensitive = Reader(Reader(cipher.decryptor().update(ciphertext), "TPM2B").sized16be(200), "sensitive")
    assert sensitive.u16be() == Algorithm.KEYEDHASH
    assert sensitive.sized16be(0) == b""
    object_seed, data = sensitive.sized16be(32), sensitive.sized16be(128)
    unique = decode_public(key.object_public).parameters
    assert isinstance(unique, KeyedHashParameters)
    assert unique.unique == hashlib.sha256(object_seed + data).digest()
    return data


def sealed_for(srk_public: bytes) -> sealed.SealedKey:
    return seal(
        DATA_KEY,
        srk_public=srk_public,
        model=MODEL,
        policy_key=POLICY_KEY.public_key(),
        entropy=secrets.token_bytes,
    )


def test_the_parent_opens_what_was_sealed_for_it() -> None:
    parent = ec.generate_private_key(ec.SECP256R1())
    assert opened(sealed_for(storage_key(parent)), parent) == DATA_KEY


def test_another_parent_opens_nothing() -> None:
    key = sealed_for(storage_key(ec.generate_private_key(ec.SECP256R1())))
    with pytest.raises(AssertionError):
        opened(key, ec.generate_private_key(ec.SECP256R1()))


def test_a_sealed_key_is_a_document_of_its_format() -> None:
    key = sealed_for(storage_key(ec.generate_private_key(ec.SECP256R1())))
    assert sealed.decode(sealed.encode(key)) == key


def test_the_object_answers_to_its_policy_alone() -> None:
    key = sealed_for(storage_key(ec.generate_private_key(ec.SECP256R1())))
    area = decode_public(key.object_public)
    assert area.attributes == Attribute.NO_DA
    assert area.auth_policy == authorize_policy(key.policy_key, b"mantlet/weights/tiny")


def test_a_sealed_key_names_the_data_key_and_the_storage_root_key() -> None:
    parent = storage_key(ec.generate_private_key(ec.SECP256R1()))
    key = sealed_for(parent)
    assert key.srk_name == name(parent)
    # RFC 5869 with an empty salt, which is as many zeros as the hash is long.
    extracted = hmac.digest(bytes(32), DATA_KEY, "sha256")
    assert key.key_id == hmac.digest(extracted, b"mantlet/v1/key-id\x01", "sha256")[:16]


def test_two_seals_of_one_key_have_nothing_in_common() -> None:
    parent = storage_key(ec.generate_private_key(ec.SECP256R1()))
    first, second = sealed_for(parent), sealed_for(parent)
    assert first.duplicate != second.duplicate
    assert first.encrypted_seed != second.encrypted_seed
    assert first.object_public != second.object_public


def test_the_same_entropy_gives_the_same_wrap() -> None:
    parent = storage_key(ec.generate_private_key(ec.SECP256R1()))
    content = data_object(DATA_KEY, auth_policy=bytes(32), entropy=bytes)
    assert wrap(parent, content, entropy=bytes) == wrap(parent, content, entropy=bytes)


@pytest.mark.parametrize("register", ENFORCED)
@pytest.mark.parametrize("bank", BANKS)
def test_the_policy_changes_with_every_register_of_every_bank(bank: Bank, register: int) -> None:
    changed = {**EXPECTED, bank: {**EXPECTED[bank], register: bytes(bank.size)}}
    assert pcr_policy(changed, ENFORCED) != pcr_policy(EXPECTED, ENFORCED)


def test_a_policy_without_a_value_for_a_register_cannot_be_made() -> None:
    partial = {bank: {4: values[4]} for bank, values in EXPECTED.items()}
    with pytest.raises(KeyError):
        pcr_policy(partial, ENFORCED)


def test_a_selection_has_three_octets_a_bank() -> None:
    # TPM 2.0 Part 2, 10.6.1: count, then hash, sizeofSelect, pcrSelect; register 4 is bit 4 of octet 0.
    assert pcr_selection(BANKS, (4, 15)).hex() == "00000002" + "000b03108000" + "000c03108000"


@pytest.mark.parametrize(
    "changes",
    [
        {"attributes": Attribute.FIXED_TPM | Attribute.SIGN_ENCRYPT},
        {"name_alg": Algorithm.SHA384},
        {"parameters": KeyedHashParameters(scheme=Scheme(), unique=bytes(32))},
    ],
    ids=["signing key", "SHA-384", "no key"],
)
def test_a_parent_that_is_no_storage_root_key_is_refused(changes: dict[str, object]) -> None:
    public = storage_key(ec.generate_private_key(ec.SECP256R1()), **changes)
    with pytest.raises(MantletError, match="storage root key: expected a storage key on P-256"):
        sealed_for(public)


def test_a_parent_whose_point_is_beside_the_curve_is_refused() -> None:
    area = decode_public(storage_key(ec.generate_private_key(ec.SECP256R1())))
    assert isinstance(area.parameters, EccParameters)
    beside = dataclasses.replace(area.parameters, x=bytes(32))
    with pytest.raises(MantletError, match="not on the curve"):
        sealed_for(encode_public(dataclasses.replace(area, parameters=beside)))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_data_key_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(MantletError, match=f"data key: expected 32 bytes, found {size}"):
        seal(
            bytes(size),
            srk_public=storage_key(ec.generate_private_key(ec.SECP256R1())),
            model=MODEL,
            policy_key=POLICY_KEY.public_key(),
            entropy=secrets.token_bytes,
        )


@pytest.mark.parametrize("size", [0, 129])
def test_an_object_holds_between_one_byte_and_128(size: int) -> None:
    with pytest.raises(ValueError, match="1 to 128"):
        data_object(bytes(size), auth_policy=bytes(32), entropy=bytes)


def test_a_policy_key_on_another_curve_is_refused() -> None:
    with pytest.raises(MantletError, match="found one on secp384r1"):
        policy_key_public(ec.generate_private_key(ec.SECP384R1()).public_key())


def test_kdfa_and_kdfe_count_on_past_one_digest() -> None:
    # SP 800-108 and SP 800-56A: the first block does not depend on how many follow, but KDFa's bit count
    # does.
    assert len(kdfa("sha256", b"key", "LABEL", (b"u", b"v"), 512)) == 64
    assert kdfe("sha256", b"z", "USE", (b"u", b"v"), 512)[:32] == kdfe(
        "sha256", b"z", "USE", (b"u", b"v"), 256
    )
