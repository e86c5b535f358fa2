# SPDX-License-Identifier: Apache-2.0
"""The release of a sealed key with tpm2-pytss alone (docs/formats.md, *Sealed key*, *Approvals*).

What the agent's release is set beside: the commands that no release can do without, with nothing checked in
between, nothing overwritten, and no ownership taken. It runs where tpm2-pytss is, in the tools tree.
"""

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

from mantlet_measure.epoch_counter import operand
from mantlet_measure.handover import Handover
from mantlet_measure.pcr import BANKS, ENFORCED
from mantlet_measure.policy import approval_digest

_SELECTION = "+".join(f"{bank}:{','.join(map(str, ENFORCED))}" for bank in BANKS)


def data_key(esapi: Any, parent: Any, index: Any, given: Handover) -> bytes:
    """Import, load, start a salted session, satisfy the policy, unseal, flush: thirteen commands.

    esapi: an ESAPI context; parent, index: its handles of the storage root key and of the epoch counter;
    given: a sealed key with one approval, of the registers as they stand. Raises TSS2_Exception.
    """
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
    esapi.policy_pcr(session, b"", TPML_PCR_SELECTION.parse(_SELECTION))
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
