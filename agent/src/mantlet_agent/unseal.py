# SPDX-License-Identifier: Apache-2.0
"""The release of the data key by the TPM (docs/formats.md, *Sealed key*, *Approvals*; TPM 2.0 Library, Part
3).

Owns Import, Load, the policy session and Unseal. What to do with the key, and where the documents come from,
is decided by `boot`. The TPM enforces the policy: nothing here compares a register with an expectation, and
an approval is looked up only to know which one to present.
"""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verified:
    """An approval whose signature the TPM has verified: its ticket, and the Name of the key that signed."""

    approval: Approval
    ticket: Any
    signer: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class _Used:
    """What has released the key: handle of the epoch counter, the key wrapped for this TPM, the approval."""

    index: Any
    private: Any
    verified: _Verified


class SealedRelease:
    """The release of one sealed key, under one of its approvals.

    No object stays loaded longer than the one command that needs it: the kernel's resource manager swaps all
    that are loaded, and each session, out of the TPM and in again around every command.
    """

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
        self._used: _Used | None = None

    @property
    def index(self) -> Any:
        """The handle of the epoch counter, once the key was released."""
        if self._used is None:
            raise AssertionError("the counter is known after the release")
        return self._used.index

    def data_key(self) -> bytearray:
        """Return the data key; the caller wipes it. StageError."""
        private = self._imported()
        with self._signer():
            # Both keys are of use to this TPM: only now does it get an owner, for good.
            pass
        index = ownership.take(self._tpm, self.counter)
        try:
            secret, verified = _anew(lambda: self._unsealed(private, index))
        except TSS2_Exception as error:
            raise refused(error, Code.SEALED_KEY_REFUSED) from error
        key = _taken(secret)
        if len(key) != DATA_KEY_SIZE or key_id(key) != self._sealed.key_id:
            kernel.wipe(key)
            raise StageError(Code.SEALED_KEY_FOREIGN, f"expected the key {self._sealed.key_id.hex()}")
        self._used = _Used(index=index, private=private, verified=verified)
        return key

    def prove_closed(self) -> None:
        """Try the very approval that released the key, and see it refused. StageError when it is not."""
        if self._used is None:
            raise AssertionError("nothing was released")
        used = self._used
        try:
            secret = _anew(lambda: self._refused(used))
        except TSS2_Exception as error:
            if error.error != TPM2_RC.POLICY_FAIL:
                raise StageError(Code.TPM_ERROR, str(error)) from error
            return
        kernel.wipe(_taken(secret))
        raise StageError(Code.CAP_NOT_EFFECTIVE)

    def _imported(self) -> Any:
        """Return the sealed key wrapped for this TPM (Part 3, TPM2_Import)."""
        sealed, esapi = self._sealed, self._tpm.esapi
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
        symmetric = TPMT_SYM_DEF_OBJECT(algorithm=TPM2_ALG.NULL)
        with _foreign():
            return esapi.import_(parent, b"", _public(sealed.object_public), duplicate, seed, symmetric)

    def _unsealed(self, private: Any, index: Any) -> tuple[Any, _Verified]:
        """Unseal under the approval of this boot. TSS2_Exception, StageError."""
        with self._boot_policy() as session:
            verified = self._verified(self._approval(session))
            self._authorize(session, index, verified)
            return self._open(session, private), verified

    def _refused(self, used: _Used) -> Any:
        """Present an approval that must not fit any more, and ask for the key all the same. TSS2_Exception,
        StageError."""
        with self._boot_policy() as session:
            try:
                self._authorize(session, used.index, used.verified)
            except TSS2_Exception as error:
                if error.error != TPM2_RC.VALUE:
                    raise StageError(Code.TPM_ERROR, str(error)) from error
            else:
                raise StageError(Code.CAP_NOT_EFFECTIVE, "PolicyAuthorize still accepts the approval")
            return self._open(session, used.private)

    def _open(self, session: Any, private: Any) -> Any:
        """Load the blob and ask for what is in it. TSS2_Exception, StageError."""
        esapi = self._tpm.esapi
        parent, _ = self._tpm.storage_root()
        with _foreign():
            blob = esapi.load(parent, private, _public(self._sealed.object_public))
        try:
            return esapi.unseal(blob, session1=session)
        finally:
            esapi.flush_context(blob)

    def _verified(self, approval: Approval) -> _Verified:
        """Have the TPM verify the policy key's signature over SHA-256(policy ‖ policyRef). StageError."""
        esapi, reference = self._tpm.esapi, self._sealed.policy_ref.encode("ascii")
        signature = _part(TPMT_SIGNATURE, approval.signature)
        with self._signer() as signer:
            try:
                ticket = esapi.verify_signature(
                    signer, approval_digest(approval.policy, reference), signature
                )
            except TSS2_Exception as error:
                raise refused(error, Code.SEALED_KEY_REFUSED) from error
            return _Verified(approval=approval, ticket=ticket, signer=esapi.tr_get_name(signer))

    @contextmanager
    def _signer(self) -> Iterator[Any]:
        """Give the policy key, loaded. StageError."""
        esapi = self._tpm.esapi
        with _foreign():
            # The ticket of VerifySignature must come from a hierarchy other than NULL (Part 3, 20.1).
            signer = esapi.load_external(_public(self._sealed.policy_key), hierarchy=ESYS_TR.OWNER)
        try:
            yield signer
        finally:
            esapi.flush_context(signer)

    @contextmanager
    def _boot_policy(self) -> Iterator[Any]:
        """Give a policy session that holds PolicyPCR; what it answers is encrypted."""
        attributes = TPMA_SESSION.ENCRYPT | TPMA_SESSION.CONTINUESESSION
        with self._tpm.session(TPM2_SE.POLICY, attributes) as session:
            with commands():
                self._tpm.esapi.policy_pcr(session, b"", selection(ENFORCED))
            yield session

    def _approval(self, session: Any) -> Approval:
        """Return the approval of this boot that reaches furthest. PolicyAuthorize would take no other."""
        with commands():
            policy = bytes(self._tpm.esapi.policy_get_digest(session))
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

    def _authorize(self, session: Any, index: Any, verified: _Verified) -> None:
        """PolicyNV, then PolicyAuthorize (Part 3, 23.16). TSS2_Exception, StageError."""
        esapi, approval = self._tpm.esapi, verified.approval
        try:
            esapi.policy_nv(index, index, session, operand(approval.epoch), Comparison.UNSIGNED_LE)
        except TSS2_Exception as error:
            past = error.error == TPM2_RC.POLICY
            raise StageError(Code.EPOCH_PAST if past else Code.TPM_ERROR, str(error)) from error
        esapi.policy_authorize(
            session,
            approval.policy,
            verified.signer,
            verified.ticket,
            policy_ref=self._sealed.policy_ref.encode("ascii"),
        )


@contextmanager
def _foreign() -> Iterator[None]:
    """Turn what this TPM does not import or load into a StageError."""
    try:
        yield
    except TSS2_Exception as error:
        raise refused(error, Code.SEALED_KEY_FOREIGN) from error


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


def _public(area: bytes) -> Any:
    return TPM2B_PUBLIC(publicArea=_part(TPMT_PUBLIC, area))


def _part(kind: Any, data: bytes) -> Any:
    return unmarshal(kind, data, Code.SEALED_KEY_MALFORMED)
