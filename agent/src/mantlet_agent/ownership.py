# SPDX-License-Identifier: Apache-2.0
"""The ownership of the TPM: a storage root key that stays, the epoch counter, and hierarchies that nobody
owns (docs/formats.md, *Epoch counter*; TPM 2.0 Library, Part 3).

Owns what the first boot with a key changes in the TPM for good, in an order that any later boot can finish.
The passwords are random and forgotten: afterwards nobody defines or removes an index, clears the TPM, or
makes another owner's key, this agent included. Raising the counter is in `epoch`.
"""

import os
from contextlib import ExitStack
from typing import Any

from tpm2_pytss import (
    ESYS_TR,
    TPM2_CAP,
    TPM2_RC,
    TPM2_SE,
    TPM2B_NV_PUBLIC,
    TPMA_SESSION,
    TPML_DIGEST,
    TPMS_NV_PUBLIC,
    TSS2_Exception,
)

from mantlet_agent.stages import Code, StageError
from mantlet_agent.tpm import SRK_HANDLE, Tpm, commands
from mantlet_measure.epoch_counter import EpochCounter

# TPMA_PERMANENT (TPM 2.0 Library, Part 2, 8.6), read as TPM_PT_PERMANENT.
_PT_PERMANENT = 0x200
_OWNER_AUTH_SET, _LOCKOUT_AUTH_SET, _DISABLE_CLEAR = 1 << 0, 1 << 2, 1 << 8
_PASSWORD_SIZE = 32


def take(tpm: Tpm, counter: EpochCounter) -> Any:
    """Return the handle of the counter. On a TPM that has no owner yet, become it: once and for all.

    StageError with epoch-counter-absent when the TPM has an owner and no such counter, and with
    epoch-counter-foreign when the index is not the one that policies name.
    """
    permanent = _permanent(tpm)
    index = _find(tpm, counter)
    if not permanent & _OWNER_AUTH_SET:
        _keep_storage_root(tpm)
        if index is None:
            index = _define(tpm, counter)
    if index is None:
        raise StageError(
            Code.EPOCH_COUNTER_ABSENT, f"expected an index at {counter.handle:#010x}, found none"
        )
    name = bytes(tpm.esapi.tr_get_name(index))
    if name == counter.name(written=False):
        _start(tpm, counter, index)
        name = bytes(tpm.esapi.tr_get_name(index))
    if name != counter.name(written=True):
        raise StageError(
            Code.EPOCH_COUNTER_FOREIGN,
            f"expected the Name {counter.name(written=True).hex()}, found {name.hex()}",
        )
    _close(tpm, permanent)
    return index


def _permanent(tpm: Tpm) -> int:
    with commands():
        _, data = tpm.esapi.get_capability(TPM2_CAP.TPM_PROPERTIES, _PT_PERMANENT, 1)
        (found,) = data.data.tpmProperties
    return int(found.value)


def _find(tpm: Tpm, counter: EpochCounter) -> Any | None:
    try:
        return tpm.esapi.tr_from_tpmpublic(counter.handle)
    except TSS2_Exception as error:
        if error.error == TPM2_RC.HANDLE:
            return None
        raise StageError(Code.TPM_ERROR, str(error)) from error


def _keep_storage_root(tpm: Tpm) -> None:
    """Make the storage root key persistent: without the owner's password it cannot be made again."""
    if tpm.storage_root_is_persistent():
        return
    handle, _ = tpm.storage_root()
    try:
        tpm.esapi.evict_control(ESYS_TR.OWNER, handle, SRK_HANDLE)
    except TSS2_Exception as error:
        occupied = error.error == TPM2_RC.NV_DEFINED
        raise StageError(Code.STORAGE_KEY_FOREIGN if occupied else Code.TPM_ERROR, str(error)) from error


def _define(tpm: Tpm, counter: EpochCounter) -> Any:
    area, _ = TPMS_NV_PUBLIC.unmarshal(counter.public(written=False))
    with commands():
        return tpm.esapi.nv_define_space(None, TPM2B_NV_PUBLIC(nvPublic=area))


def _start(tpm: Tpm, counter: EpochCounter, index: Any) -> None:
    """Increment for the first time: the TPM chooses the start, above every counter that it ever had.

    Part 3, 31.8: until then the index has no content, and its policy lets anybody do this.
    """
    with ExitStack() as stack:
        session = stack.enter_context(tpm.session(TPM2_SE.POLICY))
        with commands():
            tpm.esapi.policy_nv_written(session, False)
            tpm.esapi.policy_or(session, TPML_DIGEST(list(counter.branches)))
            tpm.esapi.nv_increment(index, session1=session)


def _close(tpm: Tpm, permanent: int) -> None:
    """Give owner and lockout passwords that nobody keeps, and disable TPM2_Clear, where it is not done."""
    missing = [
        handle
        for bit, handle in ((_OWNER_AUTH_SET, ESYS_TR.OWNER), (_LOCKOUT_AUTH_SET, ESYS_TR.LOCKOUT))
        if not permanent & bit
    ]
    with commands():
        # First, while the lockout password is still empty (Part 3, 24.7).
        if not permanent & _DISABLE_CLEAR and ESYS_TR.LOCKOUT in missing:
            tpm.esapi.clear_control(ESYS_TR.LOCKOUT, True)
    if not missing:
        return
    # The passwords go over the bus as parameters: encrypted, under a secret that only the TPM shares.
    with ExitStack() as stack:
        session = stack.enter_context(
            tpm.session(TPM2_SE.HMAC, TPMA_SESSION.DECRYPT | TPMA_SESSION.CONTINUESESSION)
        )
        with commands():
            for handle in reversed(missing):
                tpm.esapi.hierarchy_change_auth(handle, os.urandom(_PASSWORD_SIZE), session1=session)
