# SPDX-License-Identifier: Apache-2.0
"""The release of the data key by the TPM (docs/formats.md, *Sealed key*, *Approvals*; TPM 2.0 Library, Part
3).

Owns Import, Load, the policy session and Unseal. What to do with the key, and where the documents come from,
is decided by `boot`. The TPM enforces the policy: nothing here compares a register with an expectation, and
an approval is looked up only to know which one to present.
"""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

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
    TPMT_SYM_DEF_OBJECT,
    TSS2_Exception,
    types,
)

from mantlet_agent import kernel, ownership
from mantlet_agent.stages import Code, StageError
from mantlet_agent.tpm import Tpm, commands, refused, selection, structure, unmarshal
from mantlet_measure.approvals import Approval, Approvals
from mantlet_measure.disk_key import DATA_KEY_SIZE, key_id
from mantlet_measure.epoch_counter import EpochCounter, operand
from mantlet_measure.pcr import ENFORCED
from mantlet_measure.policy import Comparison, approval_digest
from mantlet_measure.sealed import SealedKey

T = TypeVar("T")

_ATTEMPTS = 8


class SealedRelease:
    """The release of one sealed key, under one of its approvals."""

    def __init__(self, tpm: Tpm, sealed: SealedKey, approvals: Approvals) -> None:
        """Take both documents. StageError when they do not belong to each other.

        That the deployment names their policy key is the caller's step (`configuration.require_deployed`).
        """
        given = approvals.policy_key, approvals.policy_ref
        if given != (sealed.policy_key, sealed.policy_ref):
            raise StageError(
                Code.APPROVALS_FOREIGN,
                f"expected approvals of the sealed key's policy key for {sealed.policy_ref}, "
                f"found some for {approvals.policy_ref}",
            )
        self.counter = EpochCounter(policy_key=sealed.policy_key)
        self._tpm = tpm
        self._sealed = sealed
        self._approvals = approvals.approvals
        self._used: tuple[Any, Approval] | None = None

    @property
    def index(self) -> Any:
        """The handle of the epoch counter, once the key was released."""
        if self._used is None:
            raise AssertionError("the counter is known after the release")
        return self._used[0]

    def data_key(self) -> bytearray:
        """Return the data key; the caller wipes it. StageError."""
        with ExitStack() as stack:
            blob, policy_key = self._load(stack)
            index = ownership.take(self._tpm, self.counter)
            try:
                secret, approval = _anew(lambda: self._unsealed(blob, policy_key, index))
            except TSS2_Exception as error:
                raise refused(error, Code.SEALED_KEY_REFUSED) from error
            key = _taken(secret)
        if len(key) != DATA_KEY_SIZE or key_id(key) != self._sealed.key_id:
            kernel.wipe(key)
            raise StageError(Code.SEALED_KEY_FOREIGN, f"expected the key {self._sealed.key_id.hex()}")
        self._used = index, approval
        return key

    def prove_closed(self) -> None:
        """Try the very approval that released the key, and see it refused. StageError when it is not."""
        if self._used is None:
            raise AssertionError("nothing was released")
        index, approval = self._used
        with ExitStack() as stack:
            blob, policy_key = self._load(stack)
            try:
                secret = _anew(lambda: self._refused(blob, policy_key, index, approval))
            except TSS2_Exception as error:
                if error.error != TPM2_RC.POLICY_FAIL:
                    raise StageError(Code.TPM_ERROR, str(error)) from error
                return
            kernel.wipe(_taken(secret))
            raise StageError(Code.CAP_NOT_EFFECTIVE)

    def _unsealed(self, blob: Any, policy_key: Any, index: Any) -> tuple[Any, Approval]:
        """Unseal under the approval of this boot. TSS2_Exception, StageError."""
        with self._boot_policy() as (session, policy):
            approval = self._approval(policy)
            self._authorize(session, policy_key, index, approval)
            return self._tpm.esapi.unseal(blob, session1=session), approval

    def _refused(self, blob: Any, policy_key: Any, index: Any, approval: Approval) -> Any:
        """Present an approval that must not fit any more, and ask for the key all the same. TSS2_Exception,
        StageError."""
        with self._boot_policy() as (session, _):
            try:
                self._authorize(session, policy_key, index, approval)
            except TSS2_Exception as error:
                if error.error != TPM2_RC.VALUE:
                    raise StageError(Code.TPM_ERROR, str(error)) from error
            else:
                raise StageError(Code.CAP_NOT_EFFECTIVE, "PolicyAuthorize still accepts the approval")
            return self._tpm.esapi.unseal(blob, session1=session)

    def _load(self, stack: ExitStack) -> tuple[Any, Any]:
        """Import and load the blob and the policy key; both are flushed by `stack`."""
        sealed, esapi = self._sealed, self._tpm.esapi
        blob_public = TPM2B_PUBLIC(publicArea=_part(TPMT_PUBLIC, sealed.object_public))
        policy_public = TPM2B_PUBLIC(publicArea=_part(TPMT_PUBLIC, sealed.policy_key))
        try:
            duplicate = structure(TPM2B_PRIVATE, buffer=sealed.duplicate)
            seed = structure(TPM2B_ENCRYPTED_SECRET, secret=sealed.encrypted_seed)
        except ValueError as error:
            raise StageError(Code.SEALED_KEY_MALFORMED, str(error)) from error
        parent, _ = self._tpm.storage_root()
        # What salts our sessions is the key that the owner has verified, and not one that the bus brought.
        name = bytes(esapi.tr_get_name(parent))
        if name != sealed.srk_name:
            raise StageError(
                Code.SEALED_KEY_FOREIGN,
                f"expected the storage root key {sealed.srk_name.hex()}, found {name.hex()}",
            )
        try:
            private = esapi.import_(
                parent, b"", blob_public, duplicate, seed, TPMT_SYM_DEF_OBJECT(algorithm=TPM2_ALG.NULL)
            )
            blob = esapi.load(parent, private, blob_public)
            stack.callback(esapi.flush_context, blob)
            # The ticket of VerifySignature must come from a hierarchy other than NULL (Part 3, 20.1).
            policy_key = esapi.load_external(policy_public, hierarchy=ESYS_TR.OWNER)
            stack.callback(esapi.flush_context, policy_key)
        except TSS2_Exception as error:
            raise refused(error, Code.SEALED_KEY_FOREIGN) from error
        return blob, policy_key

    @contextmanager
    def _boot_policy(self) -> Iterator[tuple[Any, bytes]]:
        """Give a policy session that holds PolicyPCR, and its digest; what it answers is encrypted."""
        attributes = TPMA_SESSION.ENCRYPT | TPMA_SESSION.CONTINUESESSION
        with self._tpm.session(TPM2_SE.POLICY, attributes) as session:
            with commands():
                self._tpm.esapi.policy_pcr(session, b"", selection(ENFORCED))
                policy = bytes(self._tpm.esapi.policy_get_digest(session))
            yield session, policy

    def _approval(self, policy: bytes) -> Approval:
        """Return the approval of this boot that reaches furthest. PolicyAuthorize would take no other."""
        fitting = [
            approval
            for approval in self._approvals
            if approval.policy == self.counter.at_most(approval.epoch, policy)
        ]
        if not fitting:
            raise StageError(
                Code.SEALED_KEY_UNAPPROVED, f"no approval of the registers' policy {policy.hex()}"
            )
        return max(fitting, key=lambda approval: approval.epoch)

    def _authorize(self, session: Any, policy_key: Any, index: Any, approval: Approval) -> None:
        """PolicyNV, VerifySignature over SHA-256(policy ‖ policyRef), PolicyAuthorize (Part 3, 23.16)."""
        esapi = self._tpm.esapi
        reference = self._sealed.policy_ref.encode("ascii")
        signature = _part(TPMT_SIGNATURE, approval.signature)
        try:
            esapi.policy_nv(index, index, session, operand(approval.epoch), Comparison.UNSIGNED_LE)
        except TSS2_Exception as error:
            past = error.error == TPM2_RC.POLICY
            raise StageError(Code.EPOCH_PAST if past else Code.TPM_ERROR, str(error)) from error
        digest = approval_digest(approval.policy, reference)
        try:
            ticket = esapi.verify_signature(policy_key, digest, signature)
        except TSS2_Exception as error:
            raise refused(error, Code.SEALED_KEY_REFUSED) from error
        name = esapi.tr_get_name(policy_key)
        esapi.policy_authorize(session, approval.policy, name, ticket, policy_ref=reference)


def _anew(attempt: Callable[[], T]) -> T:
    """Attempt again when a register, whichever, was extended meanwhile. TSS2_Exception.

    That ends each session that has looked at registers (TPM 2.0 Library, Part 3, TPM2_PolicyPCR:
    pcrUpdateCounter); the next one looks at them anew.
    """
    for _ in range(_ATTEMPTS - 1):
        try:
            return attempt()
        except TSS2_Exception as error:
            if error.error != TPM2_RC.PCR_CHANGED:
                raise
    return attempt()


def _taken(secret: Any) -> bytearray:
    """Move the content of a TPM2B_SENSITIVE_DATA into a bytearray, and overwrite where it was."""
    size = int(secret._cdata.size)
    where = int(types.ffi.cast("uintptr_t", secret._cdata.buffer))
    key = bytearray(size)
    if size:
        ctypes.memmove((ctypes.c_char * size).from_buffer(key), where, size)
        ctypes.memset(where, 0, size)
    return key


def _part(kind: Any, data: bytes) -> Any:
    return unmarshal(kind, data, Code.SEALED_KEY_MALFORMED)
