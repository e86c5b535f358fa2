# SPDX-License-Identifier: Apache-2.0
"""Approvals and epoch statements without a TPM: what is signed, and what is not.

The second source of the digests is a TPM: tests/tpm/test_sealing_interoperates.py.
"""

import dataclasses
import hashlib

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from mantlet.verifier.tpm import decode_signature
from mantlet.weights.approve import approve, merged, policy_key_public, raise_epoch
from mantlet.weights.policy import pcr_policy
from mantlet_measure.approvals import Approvals
from mantlet_measure.epoch_counter import EpochCounter
from mantlet_measure.errors import MantletError
from mantlet_measure.pcr import BANKS, ENFORCED
from mantlet_measure.policy import approval_digest
from mantlet_measure.tpm_structs import name
from tests.sealing import IMAGE, Owner

EXPECTED = {bank: {register: bank.digest(bytes([register])) for register in ENFORCED} for bank in BANKS}
POLICY_KEY = ec.generate_private_key(ec.SECP256R1())
COUNTER = EpochCounter(policy_key=policy_key_public(POLICY_KEY.public_key()))


def approved(*, model_id: str = "tiny", epoch: int = 3, marker: bytes = b"") -> Approvals:
    registers = {**EXPECTED, BANKS[0]: {**EXPECTED[BANKS[0]], 11: hashlib.sha256(marker).digest()}}
    return approve(registers, model_id=model_id, epoch=epoch, image=IMAGE, policy_key=POLICY_KEY)


def test_an_approval_is_a_signature_over_boot_and_epoch_and_reference() -> None:
    listed = approve(EXPECTED, model_id="tiny", epoch=3, image=IMAGE, policy_key=POLICY_KEY)
    (approval,) = listed.approvals
    assert approval.policy == COUNTER.at_most(3, pcr_policy(EXPECTED, ENFORCED))
    message = approval.policy + b"mantlet/weights/tiny"
    assert hashlib.sha256(message).digest() == approval_digest(approval.policy, b"mantlet/weights/tiny")
    verifier = POLICY_KEY.public_key()
    verifier.verify(decode_signature(approval.signature), message, ec.ECDSA(hashes.SHA256()))
    with pytest.raises(InvalidSignature):
        verifier.verify(decode_signature(approval.signature), message + b"x", ec.ECDSA(hashes.SHA256()))


def test_an_approval_of_another_epoch_is_another_policy() -> None:
    assert approved(epoch=3).approvals[0].policy != approved(epoch=4).approvals[0].policy


def test_a_statement_is_a_signature_for_its_own_purpose() -> None:
    statement = raise_epoch(7, policy_key=POLICY_KEY)
    assert statement.policy == COUNTER.below(7)
    message = statement.policy + b"mantlet/epoch"
    POLICY_KEY.public_key().verify(decode_signature(statement.signature), message, ec.ECDSA(hashes.SHA256()))


@pytest.mark.parametrize("epoch", [0, -1, 1 << 32])
def test_an_epoch_outside_its_limits_is_not_signed(epoch: int) -> None:
    with pytest.raises(MantletError, match="epoch: expected 1 to"):
        raise_epoch(epoch, policy_key=POLICY_KEY)
    with pytest.raises(MantletError, match="epoch: expected 1 to"):
        approved(epoch=epoch)


def test_approvals_of_several_releases_are_one_document_with_the_newest_first() -> None:
    first, second = approved(marker=b"1"), approved(marker=b"2")
    both = merged(first, second)
    assert both.approvals == second.approvals + first.approvals
    assert [item.policy for item in merged(both, second).approvals] == [
        item.policy for item in both.approvals
    ]


@pytest.mark.parametrize("other", [approved(model_id="other"), Owner().approve(EXPECTED)])
def test_approvals_of_another_model_or_policy_key_are_not_merged(other: Approvals) -> None:
    with pytest.raises(MantletError, match="approvals: expected some of the same policy key"):
        merged(other, approved())


def test_more_approvals_than_a_document_holds_are_refused() -> None:
    (approval,) = approved().approvals
    many = tuple(dataclasses.replace(approval, policy=bytes([number]) * 32) for number in range(64))
    with pytest.raises(MantletError, match="at most 64, found 65"):
        merged(dataclasses.replace(approved(), approvals=many), approved())


def test_the_index_lies_in_the_owners_range_and_follows_from_the_key() -> None:
    # 22 bits behind the first handle: 0x01800000 to 0x01bfffff.
    digest = hashlib.sha256(name(COUNTER.policy_key)).digest()
    assert COUNTER.handle == 0x01800000 | int.from_bytes(digest[:4], "big") >> 10
    assert COUNTER.handle <= 0x01BFFFFF


def test_a_written_index_has_another_name_than_one_that_was_not() -> None:
    assert COUNTER.name(written=True) != COUNTER.name(written=False)
    written, unwritten = (COUNTER.public(written=flag) for flag in (True, False))
    # TPM 2.0 Library, Part 2, 13.4: WRITTEN is bit 29 of the attributes, which follow handle and nameAlg.
    assert written == unwritten[:6] + bytes([unwritten[6] | 0x20]) + unwritten[7:]
