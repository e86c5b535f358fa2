# SPDX-License-Identifier: Apache-2.0
"""The raising of the epoch, after a healthy boot (docs/formats.md, *Epoch statement*; TPM 2.0 Library, Part
3).

Owns the increments. The TPM enforces the statement: it counts only under the policy key's signature and only
while the counter stands below the epoch that was signed. So a replayed statement does nothing, a forged one
does nothing, and nothing lowers the counter.
"""

from contextlib import ExitStack
from typing import Any

from tpm2_pytss import (
    ESYS_TR,
    TPM2_SE,
    TPM2B_PUBLIC,
    TPML_DIGEST,
    TPMT_PUBLIC,
    TPMT_SIGNATURE,
    TSS2_Exception,
)

from mantlet_agent.stages import Code, StageError
from mantlet_agent.tpm import Tpm, commands, refused, unmarshal
from mantlet_measure import epoch as statements
from mantlet_measure import policy
from mantlet_measure.epoch import EpochStatement
from mantlet_measure.epoch_counter import EPOCH_REFERENCE, SIZE, EpochCounter, operand
from mantlet_measure.errors import DecodeError

# One statement never costs more than so many writes of the TPM's memory.
_STEPS = 4096


def value(tpm: Tpm, index: Any) -> int:
    """Return where the counter stands. StageError."""
    with commands():
        return int.from_bytes(bytes(tpm.esapi.nv_read(index, SIZE)), "big")


def apply(tpm: Tpm, counter: EpochCounter, index: Any, document: bytes) -> Code:
    """Count up to the epoch of a statement. Returns what came of it, and OK when there was nothing to do.

    Raises StageError with epoch-refused for a statement that the TPM, or its format, refuses.
    """
    try:
        statement = statements.decode(document)
    except DecodeError as error:
        raise StageError(Code.EPOCH_REFUSED, error.message) from error
    if statement.policy_key != counter.policy_key or statement.policy != counter.below(statement.epoch):
        raise StageError(Code.EPOCH_REFUSED, "the statement is for the counter of another policy key")
    missing = statement.epoch - value(tpm, index)
    if missing <= 0:
        return Code.OK
    if missing > _STEPS:
        raise StageError(Code.EPOCH_REFUSED, f"expected at most {_STEPS} epochs at once, found {missing}")
    try:
        _count(tpm, counter, index, statement, missing)
    except TSS2_Exception as error:
        raise refused(error, Code.EPOCH_REFUSED) from error
    return Code.EPOCH_RAISED


def _count(tpm: Tpm, counter: EpochCounter, index: Any, statement: EpochStatement, steps: int) -> None:
    area = unmarshal(TPMT_PUBLIC, counter.policy_key, Code.EPOCH_REFUSED)
    signature = unmarshal(TPMT_SIGNATURE, statement.signature, Code.EPOCH_REFUSED)
    reference = EPOCH_REFERENCE.encode("ascii")
    esapi = tpm.esapi
    with ExitStack() as stack:
        session = stack.enter_context(tpm.session(TPM2_SE.POLICY))
        key = esapi.load_external(TPM2B_PUBLIC(publicArea=area), hierarchy=ESYS_TR.OWNER)
        stack.callback(esapi.flush_context, key)
        digest = policy.approval_digest(statement.policy, reference)
        ticket = esapi.verify_signature(key, digest, signature)
        name = esapi.tr_get_name(key)
        for _ in range(steps):
            # A policy session is empty again after each use (Part 1, *Policy Session Reset*).
            esapi.policy_nv(index, index, session, operand(statement.epoch), policy.Comparison.UNSIGNED_LT)
            esapi.policy_authorize(session, statement.policy, name, ticket, policy_ref=reference)
            esapi.policy_or(session, TPML_DIGEST(list(counter.branches)))
            esapi.nv_increment(index, session1=session)
