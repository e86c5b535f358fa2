# SPDX-License-Identifier: Apache-2.0
"""Tests of the deployment volume's slots, of the disk key and of TPM public areas."""

import hashlib
import hmac
import json
import subprocess
from typing import Any

import pytest

from mantlet_measure import tpm_structs, volume
from mantlet_measure.disk_key import disk_key
from mantlet_measure.errors import DecodeError
from mantlet_measure.tpm_structs import (
    Algorithm,
    Attribute,
    Curve,
    EccParameters,
    KeyedHashParameters,
    RsaParameters,
    Scheme,
)
from tests.unit.measure.samples import SRK


def test_slot_read_whole_yields_its_payload() -> None:
    slot = volume.encode_slot(b"payload").ljust(volume.SLOT_SIZE, b"\xa5")
    assert volume.decode_slot(slot) == b"payload"


def test_slot_header_is_laid_out_as_documented() -> None:
    slot = volume.encode_slot(b"payload")
    assert slot[:48] == b"MANTLET1" + (7).to_bytes(8, "little") + hashlib.sha256(b"payload").digest()
    assert slot[48:4096] == bytes(4048)
    assert slot[4096:] == b"payload"


def test_slot_of_zeros_is_empty() -> None:
    assert volume.decode_slot(bytes(volume.SLOT_SIZE)) is None


@pytest.mark.parametrize("size", [0, volume.PAYLOAD_LIMIT + 1])
def test_payload_that_a_slot_cannot_hold_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="a slot holds"):
        volume.encode_slot(bytes(size))


@pytest.mark.parametrize(
    ("at", "value"),
    [(0, b"M0NTLET1"), (8, b"\xff" * 8), (8, bytes(8)), (16, b"\0"), (60, b"x"), (4096, b"P")],
)
def test_torn_or_foreign_slot_is_refused(at: int, value: bytes) -> None:
    slot = volume.encode_slot(b"payload")
    with pytest.raises(DecodeError, match="deployment volume"):
        volume.decode_slot(slot[:at] + value + slot[at + len(value) :])


@pytest.mark.parametrize("size", [0, 100, 4095, 4096, 4102])
def test_truncated_slot_is_refused(size: int) -> None:
    with pytest.raises(DecodeError, match="before the end"):
        volume.decode_slot(volume.encode_slot(b"payload")[:size])


def test_disk_key_is_hkdf_as_rfc_5869_writes_it() -> None:
    data_key, root_hash = b"k" * 32, b"r" * 32
    extracted = hmac.digest(root_hash, data_key, "sha256")
    first = hmac.digest(extracted, b"mantlet/v1/xts\x01", "sha256")
    second = hmac.digest(extracted, first + b"mantlet/v1/xts\x02", "sha256")
    assert disk_key(data_key, root_hash) == first + second


def test_disk_key_of_a_short_data_key_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        disk_key(b"short", bytes(32))


# Public areas by an independent marshaller: tpm2-pytss on tss2-mu, inside the tools tree.
_PYTSS = """
import json
from tpm2_pytss import TPM2B_PUBLIC, TPMA_OBJECT
A = TPMA_OBJECT
bits = A.FIXEDTPM | A.FIXEDPARENT | A.SENSITIVEDATAORIGIN | A.USERWITHAUTH
storage, signing = bits | A.RESTRICTED | A.DECRYPT, bits | A.RESTRICTED | A.SIGN_ENCRYPT
made = []
for algorithm, attributes in (
    ("ecc:aes128cfb", storage),
    ("ecc256:ecdsa-sha256", signing),
    ("ecc384:ecdsa-sha384", signing),
    ("rsa2048:aes128cfb", storage),
    ("rsa2048:rsassa-sha256", signing),
    ("keyedhash", bits),
    ("hmac:sha256", bits),
):
    public = TPM2B_PUBLIC.parse(alg=algorithm, objectAttributes=attributes, nameAlg="sha256").publicArea
    made.append([public.marshal().hex(), bytes(public.get_name().name).hex()])
print(json.dumps(made))
"""


def test_public_areas_and_names_are_those_of_tss2(tools: Any) -> None:
    command = tools.command(["python3", "-c", _PYTSS])
    made = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert len(made) == 7
    kinds = set()
    for area, name in made:
        public = tpm_structs.decode_public(bytes.fromhex(area))
        kinds.add(type(public.parameters))
        assert tpm_structs.encode_public(public).hex() == area
        assert tpm_structs.name(bytes.fromhex(area)).hex() == name
    assert kinds == {EccParameters, RsaParameters, KeyedHashParameters}


def test_srk_template_decodes_to_its_meaning() -> None:
    public = tpm_structs.decode_public(SRK)
    assert public.attributes == (
        Attribute.FIXED_TPM
        | Attribute.FIXED_PARENT
        | Attribute.SENSITIVE_DATA_ORIGIN
        | Attribute.USER_WITH_AUTH
        | Attribute.NO_DA
        | Attribute.RESTRICTED
        | Attribute.DECRYPT
    )
    assert isinstance(public.parameters, EccParameters)
    assert (public.parameters.curve, public.parameters.symmetric.key_bits) == (Curve.NIST_P256, 128)


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (0, b"\x00\x25"),
        (2, b"\x00\x04"),
        (4, b"\x80"),
        (8, b"\x00\x50"),
        (10, b"\x00\x13"),
        (16, b"\x00\x14"),
        (20, b"\x00\x14"),
    ],
)
def test_public_area_outside_the_known_is_refused(at: int, value: bytes) -> None:
    with pytest.raises(DecodeError, match="TPMT_PUBLIC"):
        tpm_structs.decode_public(SRK[:at] + value + SRK[at + len(value) :])


@pytest.mark.parametrize("area", [SRK[:-1], SRK + b"\0", b""])
def test_public_area_of_another_length_is_refused(area: bytes) -> None:
    with pytest.raises(DecodeError, match="TPMT_PUBLIC"):
        tpm_structs.decode_public(area)


def test_signing_key_has_no_symmetric_algorithm() -> None:
    # Part 2, TPMS_ECC_PARMS: symmetric is NULL but for a restricted decryption key.
    signing = SRK[:10] + bytes.fromhex("00100018000b00030010") + SRK[22:]
    public = tpm_structs.decode_public(signing)
    assert isinstance(public.parameters, EccParameters)
    assert public.parameters.symmetric.key_bits == 0
    assert public.parameters.scheme == Scheme(algorithm=Algorithm.ECDSA, hash_alg=Algorithm.SHA256)
    assert tpm_structs.encode_public(public) == signing


def test_key_derivation_of_an_ecc_key_survives_a_round_trip() -> None:
    derived = SRK[:20] + b"\x00\x20\x00\x0b" + SRK[22:]
    public = tpm_structs.decode_public(derived)
    assert tpm_structs.encode_public(public) == derived


def test_name_of_an_object_with_a_weak_name_algorithm_is_refused() -> None:
    with pytest.raises(DecodeError, match="nameAlg"):
        tpm_structs.name(SRK[:2] + b"\x00\x04" + SRK[4:])
