# SPDX-License-Identifier: Apache-2.0
"""The agent's release of a key beside the same commands of the TPM, written out with tpm2-pytss alone.

Both run in turns in one process on one TPM; what is compared is the median.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

from tpm2_pytss import (
    ESYS_TR,
    TPM2_ALG,
    TPM2_EO,
    TPM2_SE,
    TPM2B_ENCRYPTED_SECRET,
    TPM2B_PRIVATE,
    TPM2B_PUBLIC,
    TPMA_SESSION,
    TPML_PCR_SELECTION,
    TPMT_PUBLIC,
    TPMT_SIGNATURE,
    TPMT_SYM_DEF,
    TPMT_SYM_DEF_OBJECT,
    types,
)

from mantlet_agent.tpm import Tpm
from mantlet_agent.unseal import SealedRelease
from mantlet_measure.epoch_counter import EpochCounter, operand
from mantlet_measure.handover import Handover
from mantlet_measure.pcr import BANKS, ENFORCED
from mantlet_measure.policy import approval_digest
from tests.sealing import WORDS, Owner, with_words

ROUNDS = 25
BOUND = 3.0
SELECTION = "+".join(f"{bank}:{','.join(map(str, ENFORCED))}" for bank in BANKS)


def raw(esapi: Any, parent: Any, index: Any, given: Handover) -> bytes:
    """Import, load, start a salted session, satisfy the policy, unseal, flush: thirteen commands."""
    key, (approval,) = given.sealed_key, given.approvals.approvals
    public = TPM2B_PUBLIC(publicArea=TPMT_PUBLIC.unmarshal(key.object_public)[0])
    private = esapi.import_(
        parent,
        b"",
        public,
        TPM2B_PRIVATE(buffer=key.duplicate),
        TPM2B_ENCRYPTED_SECRET(secret=key.encrypted_seed),
        TPMT_SYM_DEF_OBJECT(algorithm=TPM2_ALG.NULL),
    )
    blob = esapi.load(parent, private, public)
    policy_public = TPM2B_PUBLIC(publicArea=TPMT_PUBLIC.unmarshal(key.policy_key)[0])
    policy_key = esapi.load_external(policy_public, hierarchy=ESYS_TR.OWNER)
    symmetric = TPMT_SYM_DEF(
        algorithm=TPM2_ALG.AES,
        keyBits=types.TPMU_SYM_KEY_BITS(aes=128),
        mode=types.TPMU_SYM_MODE(aes=TPM2_ALG.CFB),
    )
    session = esapi.start_auth_session(parent, ESYS_TR.NONE, TPM2_SE.POLICY, symmetric, TPM2_ALG.SHA256)
    esapi.trsess_set_attributes(session, TPMA_SESSION.ENCRYPT | TPMA_SESSION.CONTINUESESSION)
    esapi.policy_pcr(session, b"", TPML_PCR_SELECTION.parse(SELECTION))
    esapi.policy_nv(index, index, session, operand(approval.epoch), TPM2_EO.UNSIGNED_LE)
    reference = key.policy_ref.encode("ascii")
    signature, _ = TPMT_SIGNATURE.unmarshal(approval.signature)
    ticket = esapi.verify_signature(policy_key, approval_digest(approval.policy, reference), signature)
    name = esapi.tr_get_name(policy_key)
    esapi.policy_authorize(session, approval.policy, name, ticket, policy_ref=reference)
    data = bytes(esapi.unseal(blob, session1=session))
    for handle in (blob, policy_key, session):
        esapi.flush_context(handle)
    return data


def milliseconds(release: Callable[[], object]) -> float:
    start = time.perf_counter()
    release()
    return (time.perf_counter() - start) * 1e3


def test_a_release_takes_at_most_three_times_the_tpms_own_commands(tpm: Tpm) -> None:
    owner = Owner()
    given = owner.provide(tpm.storage_root()[1].marshal(), with_words(tpm.read(ENFORCED)))
    for _, word in WORDS:
        tpm.extend(15, word.encode())

    def ours() -> bytearray:
        return SealedRelease(tpm, given.sealed_key, given.approvals).data_key()

    # The first release takes the TPM's ownership, which no later one does.
    assert ours() == owner.data_key
    parent, _ = tpm.storage_root()
    index = tpm.esapi.tr_from_tpmpublic(EpochCounter(policy_key=given.sealed_key.policy_key).handle)
    assert raw(tpm.esapi, parent, index, given) == owner.data_key
    turns = [
        (milliseconds(ours), milliseconds(lambda: raw(tpm.esapi, parent, index, given)))
        for _ in range(ROUNDS)
    ]
    mine, theirs = (statistics.median(column) for column in zip(*turns, strict=True))
    assert mine <= BOUND * theirs, f"{mine:.1f} ms beside {theirs:.1f} ms"
