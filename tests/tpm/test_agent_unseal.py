# SPDX-License-Identifier: Apache-2.0
"""The agent's unsealing against a software TPM: released in the approved state, to nobody after the cap."""

import dataclasses
import secrets

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from mantlet.weights.seal import SealedModel, approve, seal
from mantlet_agent.stages import Code, StageError
from mantlet_agent.tpm import Tpm
from mantlet_agent.unseal import prove_capped, release
from mantlet_measure.pcr import BANKS, ENFORCED, extend
from mantlet_measure.sealed import SealedKey
from mantlet_measure.words import CAP, agent_words

MODEL = SealedModel(id="tiny", root_hash=bytes(range(32)))
WORDS = agent_words(
    deployment_sha256=bytes(32), runtime_sha256=bytes(32), root_hash=MODEL.root_hash, capped=False
)


@pytest.fixture
def policy_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def data_key() -> bytes:
    return secrets.token_bytes(32)


@pytest.fixture
def sealed(tpm: Tpm, policy_key: ec.EllipticCurvePrivateKey, data_key: bytes) -> SealedKey:
    """A key sealed for the state in which the agent will be, computed before it is there."""
    expected = {bank: dict(values) for bank, values in tpm.read(ENFORCED).items()}
    for bank in BANKS:
        for _, word in WORDS:
            expected[bank][15] = extend(bank, expected[bank][15], bank.digest(word.encode()))
    _, srk = tpm.storage_root()
    return seal(
        data_key,
        srk_public=srk.marshal(),
        model=MODEL,
        expected=expected,
        policy_key=policy_key,
        entropy=secrets.token_bytes,
    )


def extend_words(tpm: Tpm) -> None:
    for _, word in WORDS:
        tpm.extend(15, word.encode())


def refusal(tpm: Tpm, sealed: SealedKey) -> Code:
    with pytest.raises(StageError) as error:
        release(tpm, sealed)
    return error.value.code


def test_the_key_is_released_in_the_approved_state(tpm: Tpm, sealed: SealedKey, data_key: bytes) -> None:
    extend_words(tpm)
    key, approval = release(tpm, sealed)
    assert key == data_key
    assert approval == sealed.approvals[0]


def test_the_key_is_released_again_on_the_same_machine_as_long_as_there_is_no_cap(
    tpm: Tpm, sealed: SealedKey
) -> None:
    extend_words(tpm)
    assert release(tpm, sealed)[0] == release(tpm, sealed)[0]


def test_nothing_is_released_after_the_cap(tpm: Tpm, sealed: SealedKey) -> None:
    extend_words(tpm)
    _, approval = release(tpm, sealed)
    tpm.extend(15, CAP.encode())
    prove_capped(tpm, sealed, approval)
    assert refusal(tpm, sealed) is Code.SEALED_KEY_UNAPPROVED


def test_a_cap_that_was_not_extended_is_noticed(tpm: Tpm, sealed: SealedKey) -> None:
    extend_words(tpm)
    _, approval = release(tpm, sealed)
    with pytest.raises(StageError) as error:
        prove_capped(tpm, sealed, approval)
    assert error.value.code is Code.CAP_NOT_EFFECTIVE


@pytest.mark.parametrize("register", ENFORCED)
def test_one_more_event_in_an_enforced_register_keeps_the_key_closed(
    tpm: Tpm, sealed: SealedKey, register: int
) -> None:
    extend_words(tpm)
    tpm.extend(register, b"something else was measured")
    assert refusal(tpm, sealed) is Code.SEALED_KEY_UNAPPROVED


def test_a_boot_without_the_agents_words_keeps_the_key_closed(tpm: Tpm, sealed: SealedKey) -> None:
    assert refusal(tpm, sealed) is Code.SEALED_KEY_UNAPPROVED


def test_an_approval_of_this_state_by_another_key_is_refused(tpm: Tpm, sealed: SealedKey) -> None:
    extend_words(tpm)
    approval = approve(
        sealed.approvals[0].policy,
        policy_ref=sealed.policy_ref,
        policy_key=ec.generate_private_key(ec.SECP256R1()),
    )
    assert refusal(tpm, dataclasses.replace(sealed, approvals=(approval,))) is Code.SEALED_KEY_REFUSED


def test_the_tpm_refuses_an_approval_of_another_state_by_itself(tpm: Tpm, sealed: SealedKey) -> None:
    tpm.extend(11, b"another phase")
    extend_words(tpm)
    # Silence is the TPM's double refusal: PolicyAuthorize with TPM_RC_VALUE, Unseal with TPM_RC_POLICY_FAIL.
    prove_capped(tpm, sealed, sealed.approvals[0])


def test_a_swapped_policy_reference_is_refused(
    tpm: Tpm, sealed: SealedKey, policy_key: ec.EllipticCurvePrivateKey
) -> None:
    extend_words(tpm)
    other = "mantlet/weights/other"
    approval = approve(sealed.approvals[0].policy, policy_ref=other, policy_key=policy_key)
    swapped = dataclasses.replace(sealed, policy_ref=other, approvals=(approval,))
    assert refusal(tpm, swapped) is Code.SEALED_KEY_REFUSED


def test_a_blob_for_another_tpm_is_foreign(
    tpm: Tpm, sealed: SealedKey, policy_key: ec.EllipticCurvePrivateKey
) -> None:
    # Another TPM's SRK: the template is the same, the point is not.
    _, srk = tpm.storage_root()
    point = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()
    stranger = srk.marshal()[:-68] + b"\x00\x20" + point.x.to_bytes(32) + b"\x00\x20" + point.y.to_bytes(32)
    blob = seal(
        bytes(32),
        srk_public=stranger,
        model=MODEL,
        expected=tpm.read(ENFORCED),
        policy_key=policy_key,
        entropy=secrets.token_bytes,
    )
    assert refusal(tpm, blob) is Code.SEALED_KEY_FOREIGN


@pytest.mark.parametrize("part", ["duplicate", "encrypted_seed"])
@pytest.mark.parametrize("position", [0, 20, -1])
def test_a_flipped_bit_in_the_wrapped_key_is_refused(
    tpm: Tpm, sealed: SealedKey, part: str, position: int
) -> None:
    extend_words(tpm)
    content = bytearray(getattr(sealed, part))
    content[position] ^= 1
    code = refusal(tpm, dataclasses.replace(sealed, **{part: bytes(content)}))
    assert code in (Code.SEALED_KEY_FOREIGN, Code.SEALED_KEY_MALFORMED)


@pytest.mark.parametrize("part", ["object_public", "policy_key"])
def test_a_structure_with_bytes_behind_it_is_malformed(tpm: Tpm, sealed: SealedKey, part: str) -> None:
    content = getattr(sealed, part) + b"\0"
    assert refusal(tpm, dataclasses.replace(sealed, **{part: content})) is Code.SEALED_KEY_MALFORMED


@pytest.mark.parametrize("part", ["object_public", "policy_key", "duplicate", "encrypted_seed"])
def test_a_truncated_structure_is_refused(tpm: Tpm, sealed: SealedKey, part: str) -> None:
    content = getattr(sealed, part)[:-1]
    code = refusal(tpm, dataclasses.replace(sealed, **{part: content}))
    assert code in (Code.SEALED_KEY_FOREIGN, Code.SEALED_KEY_MALFORMED)


@pytest.mark.parametrize("part", ["object_public", "policy_key", "duplicate", "encrypted_seed"])
@pytest.mark.parametrize("content", [b"", bytes(1024), b"\xff" * 1024], ids=["empty", "zeros", "ones"])
def test_a_structure_of_other_bytes_is_refused(
    tpm: Tpm, sealed: SealedKey, part: str, content: bytes
) -> None:
    code = refusal(tpm, dataclasses.replace(sealed, **{part: content}))
    assert code in (Code.SEALED_KEY_FOREIGN, Code.SEALED_KEY_MALFORMED)


@pytest.mark.parametrize("signature", [b"", bytes(64), b"\xff" * 1024], ids=["empty", "zeros", "ones"])
def test_bytes_that_are_no_signature_are_refused(tpm: Tpm, sealed: SealedKey, signature: bytes) -> None:
    extend_words(tpm)
    approval = dataclasses.replace(sealed.approvals[0], signature=signature)
    code = refusal(tpm, dataclasses.replace(sealed, approvals=(approval,)))
    assert code in (Code.SEALED_KEY_MALFORMED, Code.SEALED_KEY_REFUSED)


def test_two_hundred_refusals_leave_nothing_behind_in_the_tpm(
    tpm: Tpm, sealed: SealedKey, data_key: bytes
) -> None:
    broken = dataclasses.replace(sealed.approvals[0], signature=sealed.approvals[0].signature[:-1] + b"\0")
    for _ in range(100):
        assert refusal(tpm, sealed) is Code.SEALED_KEY_UNAPPROVED
    extend_words(tpm)
    for _ in range(100):
        assert refusal(tpm, dataclasses.replace(sealed, approvals=(broken,))) is Code.SEALED_KEY_REFUSED
    assert release(tpm, sealed)[0] == data_key
