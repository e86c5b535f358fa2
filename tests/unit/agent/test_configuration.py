# SPDX-License-Identifier: Apache-2.0
"""The deployment document at the door of the agent: every way in which it is not what was signed here."""

import dataclasses
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mantlet.weights.approve import policy_key_public
from mantlet_agent import configuration
from mantlet_agent.stages import Code, StageError
from mantlet_measure import deployment as documents
from mantlet_measure import dsse
from mantlet_measure.deployment import PAYLOAD_TYPE, Deployment, Model
from mantlet_measure.errors import DecodeError
from tests.sealing import Owner
from tests.unit.measure import samples

IMAGE = ("mantlet", "1.2")
DOCUMENT = Deployment(
    id="demo",
    image_id="mantlet",
    image_version="1.2",
    manifest_sha256=bytes(32),
    model=Model(
        id="tiny",
        version="1",
        epoch=1,
        file="model.gguf",
        root_hash=bytes(32),
        salt=bytes(32),
        data_blocks=1,
        hash_offset=4096,
        size=8192,
    ),
    policy_key=b"\x00\x0b" + b"p" * 32,
    runtime="llama-server",
)
PAYLOAD = documents.encode(DOCUMENT)
KEY = Ed25519PrivateKey.generate()


def signed(payload: bytes, *keys: Ed25519PrivateKey, payload_type: str = PAYLOAD_TYPE) -> bytes:
    return dsse.encode(dsse.sign(payload_type, payload, keys or (KEY,)))


def authenticate(envelope: bytes) -> tuple[bytes, Deployment]:
    return configuration.authenticate(envelope, keys=(KEY.public_key(),), image=IMAGE)


def refused(envelope: bytes) -> Code:
    with pytest.raises(StageError) as error:
        authenticate(envelope)
    return error.value.code


def test_a_document_that_a_trusted_key_signed_for_this_image_is_taken() -> None:
    assert authenticate(signed(PAYLOAD)) == (PAYLOAD, DOCUMENT)


def test_an_unsigned_document_is_refused() -> None:
    envelope = dsse.Envelope(payload_type=PAYLOAD_TYPE, payload=PAYLOAD, signatures=())
    assert refused(dsse.encode(envelope)) is Code.DOCUMENT_UNSIGNED


def test_a_document_signed_by_a_stranger_is_refused() -> None:
    assert refused(signed(PAYLOAD, Ed25519PrivateKey.generate())) is Code.DOCUMENT_UNSIGNED


def test_a_strangers_signature_under_a_trusted_keys_name_is_refused() -> None:
    envelope = dsse.sign(PAYLOAD_TYPE, PAYLOAD, [Ed25519PrivateKey.generate()])
    name = dsse.keyid(KEY.public_key())
    forged = dataclasses.replace(envelope.signatures[0], keyid=name)
    assert refused(dsse.encode(dataclasses.replace(envelope, signatures=(forged,)))) is Code.DOCUMENT_UNSIGNED


def test_a_document_changed_after_it_was_signed_is_refused() -> None:
    envelope = dsse.sign(PAYLOAD_TYPE, PAYLOAD, [KEY])
    changed = dataclasses.replace(envelope, payload=PAYLOAD.replace(b'"demo"', b'"dem0"'))
    assert refused(dsse.encode(changed)) is Code.DOCUMENT_UNSIGNED


def test_a_trusted_signature_over_another_kind_of_document_is_refused() -> None:
    assert refused(signed(PAYLOAD, payload_type="application/json")) is Code.DOCUMENT_UNSIGNED


def test_a_signed_document_with_an_unknown_member_is_refused() -> None:
    assert refused(signed(PAYLOAD.replace(b"{", b'{"debug":true,', 1))) is Code.DOCUMENT_MALFORMED


def test_a_signed_document_with_a_member_twice_is_refused() -> None:
    assert refused(signed(PAYLOAD.replace(b"{", b'{"id":"demo",', 1))) is Code.DOCUMENT_MALFORMED


def test_a_signed_document_in_another_spelling_is_refused() -> None:
    assert refused(signed(PAYLOAD + b"\n")) is Code.DOCUMENT_MALFORMED


def test_a_signed_document_of_another_format_is_refused() -> None:
    assert refused(signed(PAYLOAD.replace(b"deployment/v1", b"deployment/v2"))) is Code.DOCUMENT_MALFORMED


@pytest.mark.parametrize("file", ["", ".", "..", "../x", "a/b", "a\x00b", "a b", "-a", "a\nB=1", "$X", "a%i"])
def test_a_model_file_that_is_no_plain_name_is_refused(file: str) -> None:
    model = dataclasses.replace(DOCUMENT.model, file=file)
    payload = documents.encode(dataclasses.replace(DOCUMENT, model=model))
    assert refused(signed(payload)) is Code.DOCUMENT_MALFORMED


@pytest.mark.parametrize("name", ["", "A", "a b", "a@b", "a/b", "-a", "a\n", "x" * 64])
def test_a_model_id_that_is_no_instance_name_is_refused(name: str) -> None:
    model = dataclasses.replace(DOCUMENT.model, id=name)
    payload = documents.encode(dataclasses.replace(DOCUMENT, model=model))
    assert refused(signed(payload)) is Code.DOCUMENT_MALFORMED


@pytest.mark.parametrize("change", [{"image_id": "other"}, {"image_version": "1.3"}])
def test_a_document_for_another_image_is_refused(change: dict[str, str]) -> None:
    payload = documents.encode(dataclasses.replace(DOCUMENT, **change))  # type: ignore[arg-type]  # any member
    assert refused(signed(payload)) is Code.DOCUMENT_FOREIGN


@pytest.mark.parametrize("envelope", [b"", b"{}", b"null", b"\xff", PAYLOAD])
def test_what_is_no_envelope_is_refused(envelope: bytes) -> None:
    assert refused(envelope) is Code.DOCUMENT_MALFORMED


def test_all_keys_of_the_image_are_trusted() -> None:
    other = Ed25519PrivateKey.generate()
    pem = b"".join(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo) for key in (KEY, other)
    )
    keys = configuration.trusted_keys(pem)
    assert [dsse.keyid(key) for key in keys] == [dsse.keyid(key.public_key()) for key in (KEY, other)]


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        ec.generate_private_key(ec.SECP256R1())
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    ],
)
def test_an_image_that_trusts_nobody_or_another_algorithm_does_not_boot(pem: bytes) -> None:
    with pytest.raises(ValueError, match=r"Ed25519|trusts no"):
        configuration.trusted_keys(pem)


OWNER = Owner()
DEPLOYED = dataclasses.replace(DOCUMENT, policy_key=OWNER.name)
SEALED = dataclasses.replace(
    samples.SEALED, root_hash=bytes(32), policy_key=policy_key_public(OWNER.policy_key.public_key())
)


def test_a_key_of_the_deployed_model_under_the_named_policy_key_is_taken() -> None:
    configuration.require_deployed(DEPLOYED, SEALED)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"model": "other"}, Code.SEALED_KEY_FOREIGN),
        ({"root_hash": b"x" * 32}, Code.SEALED_KEY_FOREIGN),
        ({"policy_key": policy_key_public(Owner().policy_key.public_key())}, Code.POLICY_KEY_FOREIGN),
        ({"policy_key": SEALED.policy_key + b"\0"}, Code.POLICY_KEY_FOREIGN),
        ({"policy_key": SEALED.policy_key.replace(b"\x00\x0b", b"\x00\x0c", 1)}, Code.POLICY_KEY_FOREIGN),
        ({"policy_key": b"\x00\x23\x00\x04"}, Code.SEALED_KEY_MALFORMED),
        ({"policy_key": b""}, Code.SEALED_KEY_MALFORMED),
    ],
)
def test_a_key_that_the_document_does_not_name_is_refused(change: dict[str, Any], code: Code) -> None:
    with pytest.raises(StageError) as refusal:
        configuration.require_deployed(DEPLOYED, dataclasses.replace(SEALED, **change))
    assert refusal.value.code is code


def test_the_image_is_named_by_its_os_release() -> None:
    content = b"NAME=x\n# IMAGE_ID=comment\nIMAGE_ID=mantlet\nIMAGE_VERSION='1.2'\n\n"
    assert configuration.image_identity(content) == IMAGE
    with pytest.raises(KeyError):
        configuration.image_identity(b"IMAGE_ID=mantlet\n")


@pytest.mark.parametrize(
    "declaration",
    [
        b"{}",
        b'{"health":"/health","name":"x","socket":"relative.sock","start_seconds":1}',
        b'{"health":"/health","name":"x","socket":"/run/x.sock","start_seconds":0}',
        b'{"health":"/a b","name":"x","socket":"/run/x.sock","start_seconds":1}',
    ],
)
def test_a_runtime_declaration_that_says_too_little_is_refused(declaration: bytes) -> None:
    with pytest.raises(DecodeError):
        configuration.read_runtime(declaration)
