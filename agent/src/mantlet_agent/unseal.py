# SPDX-License-Identifier: Apache-2.0
"""The release of the data key by the TPM (docs/formats.md, *Sealed key*; TPM 2.0 Library, Part 3).

Owns Import, Load, the policy session and Unseal. What to do with the key, and where the blob comes from, is
decided by `boot`. The TPM enforces the policy: nothing here compares a register with an expectation.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from tpm2_pytss import (
    ESYS_TR,
    TPM2_ALG,
    TPM2_RC,
    TPM2_SE,
    TPM2B_ENCRYPTED_SECRET,
    TPM2B_PRIVATE,
    TPM2B_PUBLIC,
    TPMA_SESSION,
    TPMT_PUBLIC,
    TPMT_SIGNATURE,
    TPMT_SYM_DEF,
    TPMT_SYM_DEF_OBJECT,
    TSS2_Exception,
    types,
)

from mantlet_agent.stages import Code, StageError
from mantlet_agent.tpm import Tpm, commands, refused, selection, structure
from mantlet_measure.disk_key import DATA_KEY_SIZE
from mantlet_measure.pcr import ENFORCED
from mantlet_measure.sealed import Approval, SealedKey


def release(tpm: Tpm, sealed: SealedKey) -> tuple[bytearray, Approval]:
    """Return the data key and the approval that released it; the caller wipes the key. StageError."""
    with ExitStack() as stack:
        blob, policy_key = _load(tpm, sealed, stack)
        session = stack.enter_context(_policy_session(tpm))
        with commands():
            policy = bytes(tpm.esapi.policy_get_digest(session))
        # PolicyAuthorize accepts only an approval of what the session holds by now: this boot's registers.
        approval = next((item for item in sealed.approvals if item.policy == policy), None)
        if approval is None:
            raise StageError(Code.SEALED_KEY_UNAPPROVED, f"no approval of policy {policy.hex()}")
        try:
            _authorize(tpm, session, policy_key, sealed, approval)
            secret = tpm.esapi.unseal(blob, session1=session)
        except TSS2_Exception as error:
            raise refused(error, Code.SEALED_KEY_REFUSED) from error
        key = _taken(secret)
    if len(key) != DATA_KEY_SIZE:
        raise StageError(
            Code.SEALED_KEY_MALFORMED, f"expected a key of {DATA_KEY_SIZE} bytes, found {len(key)}"
        )
    return key, approval


def prove_capped(tpm: Tpm, sealed: SealedKey, approval: Approval) -> None:
    """Try the very approval that released the key, and see the TPM refuse. StageError when it does not."""
    with ExitStack() as stack:
        blob, policy_key = _load(tpm, sealed, stack)
        session = stack.enter_context(_policy_session(tpm))
        try:
            _authorize(tpm, session, policy_key, sealed, approval)
        except TSS2_Exception as error:
            if error.error != TPM2_RC.VALUE:
                raise StageError(Code.TPM_ERROR, str(error)) from error
        else:
            raise StageError(Code.CAP_NOT_EFFECTIVE, "PolicyAuthorize still accepts the approval")
        try:
            secret = tpm.esapi.unseal(blob, session1=session)
        except TSS2_Exception as error:
            if error.error != TPM2_RC.POLICY_FAIL:
                raise StageError(Code.TPM_ERROR, str(error)) from error
            return
        key = _taken(secret)
        key[:] = bytes(len(key))
        raise StageError(Code.CAP_NOT_EFFECTIVE)


def _load(tpm: Tpm, sealed: SealedKey, stack: ExitStack) -> tuple[Any, Any]:
    """Import and load the blob and the policy key; both are flushed by `stack`."""
    blob_public = TPM2B_PUBLIC(publicArea=_unmarshal(TPMT_PUBLIC, sealed.object_public))
    policy_public = TPM2B_PUBLIC(publicArea=_unmarshal(TPMT_PUBLIC, sealed.policy_key))
    try:
        duplicate = structure(TPM2B_PRIVATE, buffer=sealed.duplicate)
        seed = structure(TPM2B_ENCRYPTED_SECRET, secret=sealed.encrypted_seed)
    except ValueError as error:
        raise StageError(Code.SEALED_KEY_MALFORMED, str(error)) from error
    parent, _ = tpm.storage_root()
    try:
        private = tpm.esapi.import_(
            parent,
            b"",
            blob_public,
            duplicate,
            seed,
            TPMT_SYM_DEF_OBJECT(algorithm=TPM2_ALG.NULL),
        )
        blob = tpm.esapi.load(parent, private, blob_public)
        stack.callback(tpm.esapi.flush_context, blob)
        # The ticket of VerifySignature must come from a hierarchy other than NULL (Part 3, 20.1).
        policy_key = tpm.esapi.load_external(policy_public, hierarchy=ESYS_TR.OWNER)
        stack.callback(tpm.esapi.flush_context, policy_key)
    except TSS2_Exception as error:
        raise refused(error, Code.SEALED_KEY_FOREIGN) from error
    return blob, policy_key


@contextmanager
def _policy_session(tpm: Tpm) -> Iterator[Any]:
    """Give a policy session that holds PolicyPCR: salted to the SRK, answers encrypted."""
    parent, _ = tpm.storage_root()
    with commands():
        session = tpm.esapi.start_auth_session(
            parent,
            ESYS_TR.NONE,
            TPM2_SE.POLICY,
            TPMT_SYM_DEF(
                algorithm=TPM2_ALG.AES,
                keyBits=types.TPMU_SYM_KEY_BITS(aes=128),
                mode=types.TPMU_SYM_MODE(aes=TPM2_ALG.CFB),
            ),
            TPM2_ALG.SHA256,
        )
    try:
        with commands():
            tpm.esapi.trsess_set_attributes(session, TPMA_SESSION.ENCRYPT | TPMA_SESSION.CONTINUESESSION)
            tpm.esapi.policy_pcr(session, b"", selection(ENFORCED))
        yield session
    finally:
        tpm.esapi.flush_context(session)


def _authorize(tpm: Tpm, session: Any, policy_key: Any, sealed: SealedKey, approval: Approval) -> None:
    """TPM2_VerifySignature over SHA-256(policy ‖ policyRef), then TPM2_PolicyAuthorize (Part 3, 23.16)."""
    reference = sealed.policy_ref.encode("ascii")
    signature = _unmarshal(TPMT_SIGNATURE, approval.signature)
    digest = hashlib.sha256(approval.policy + reference).digest()
    try:
        ticket = tpm.esapi.verify_signature(policy_key, digest, signature)
    except TSS2_Exception as error:
        raise refused(error, Code.SEALED_KEY_REFUSED) from error
    name = tpm.esapi.tr_get_name(policy_key)
    tpm.esapi.policy_authorize(session, approval.policy, name, ticket, policy_ref=reference)


def _taken(secret: Any) -> bytearray:
    """Move the content of a TPM2B_SENSITIVE_DATA into a bytearray, and wipe where it was."""
    inner: Callable[..., Any] = types.ffi.buffer
    view = inner(secret._cdata.buffer, secret._cdata.size)
    key = bytearray(view)
    view[:] = bytes(len(key))
    return key


def _unmarshal(kind: Any, data: bytes) -> Any:
    try:
        value, used = kind.unmarshal(data)
    except TSS2_Exception as error:
        raise StageError(Code.SEALED_KEY_MALFORMED, str(error)) from error
    if used != len(data):
        raise StageError(
            Code.SEALED_KEY_MALFORMED, f"expected a structure of {used} bytes, found {len(data)}"
        )
    return value
