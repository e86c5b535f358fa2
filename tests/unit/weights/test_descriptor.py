# SPDX-License-Identifier: Apache-2.0
"""The descriptor of a pack: its members, its signature, and what is refused of either."""

import base64
import dataclasses
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from mantlet.weights import descriptor, pack
from mantlet_measure import dsse, strictjson
from mantlet_measure.deployment import Model
from mantlet_measure.dsse import SignatureError
from mantlet_measure.errors import DecodeError

MODEL = Model(
    id="smollm2-135m-instruct",
    version="1",
    epoch=1,
    file="model.gguf",
    root_hash=bytes(range(32)),
    salt=pack.salt("smollm2-135m-instruct"),
    data_blocks=24_100,
    hash_offset=98_713_600,
    size=99_500_032,
    stream=None,
)
DESCRIPTOR = descriptor.Descriptor(model=MODEL, ciphertext_sha256=bytes(32), key_id=bytes(16))
OWNER = Ed25519PrivateKey.generate()
TRUSTED = [OWNER.public_key()]


def envelope() -> bytes:
    return dsse.encode(descriptor.sign(DESCRIPTOR, OWNER))


def test_a_signed_descriptor_is_believed_as_it_was_written() -> None:
    assert descriptor.authenticate(envelope(), keys=TRUSTED) == DESCRIPTOR


def test_a_descriptor_that_a_stranger_signed_is_refused() -> None:
    with pytest.raises(SignatureError, match="out of 1 trusted keys"):
        descriptor.authenticate(envelope(), keys=[Ed25519PrivateKey.generate().public_key()])


def test_a_descriptor_that_changed_after_it_was_signed_is_refused() -> None:
    value = json.loads(envelope())
    other = dataclasses.replace(DESCRIPTOR, key_id=bytes(15) + b"\1")
    value["payload"] = base64.b64encode(descriptor.encode(other)).decode()
    with pytest.raises(SignatureError, match="does not match the payload"):
        descriptor.authenticate(json.dumps(value).encode(), keys=TRUSTED)


def test_another_document_of_the_owner_is_no_descriptor() -> None:
    signed = dsse.sign("application/vnd.mantlet.deployment+json", descriptor.encode(DESCRIPTOR), [OWNER])
    with pytest.raises(SignatureError, match=r"expected payload type application/vnd\.mantlet\.pack"):
        descriptor.authenticate(dsse.encode(signed), keys=TRUSTED)


def test_a_descriptor_without_a_signature_is_refused() -> None:
    with pytest.raises(DecodeError):
        descriptor.authenticate(descriptor.encode(DESCRIPTOR), keys=TRUSTED)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"format": "mantlet-pack/v2"}, "mantlet-pack/v1"),
        ({"cipher": "cipher_null-ecb"}, "aes-xts-plain64"),
        ({"cipher": "aes-256-gcm-stream"}, "aes-xts-plain64"),
        ({"sector_size": 512}, "an integer from 4096 to 4096"),
        ({"ciphertext_sha256": "00"}, "32 bytes"),
        ({"key_id": "00"}, "16 bytes"),
        ({"header": "LUKS"}, "no other member"),
    ],
)
def test_a_descriptor_with_an_altered_member_is_refused(change: dict[str, object], expected: str) -> None:
    value = json.loads(descriptor.encode(DESCRIPTOR)) | change
    with pytest.raises(DecodeError) as refusal:
        descriptor.decode(strictjson.encode(value))
    assert expected in refusal.value.message


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"salt": pack.salt("another").hex()}, "the salt of model smollm2-135m-instruct"),
        ({"size": MODEL.size + 4096}, "99500032, the end of the hash tree"),
        ({"data_blocks": MODEL.data_blocks - 1}, "24100, all that lie before the hash tree"),
        ({"hash_offset": 4096, "data_blocks": 1, "size": 8192}, "at least 8192"),
    ],
)
def test_a_descriptor_with_room_that_nothing_verifies_is_refused(
    change: dict[str, object], expected: str
) -> None:
    value = json.loads(descriptor.encode(DESCRIPTOR))
    value["model"] |= change
    with pytest.raises(DecodeError) as refusal:
        descriptor.decode(strictjson.encode(value))
    assert expected in refusal.value.message


def test_another_spelling_of_a_descriptor_is_refused() -> None:
    with pytest.raises(DecodeError, match="another spelling"):
        descriptor.decode(descriptor.encode(DESCRIPTOR) + b"\n")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_descriptor_or_a_decode_error(data: bytes) -> None:
    with pytest.raises(DecodeError):
        descriptor.decode(data)
