# SPDX-License-Identifier: Apache-2.0
"""The NV counter that holds a machine's epoch (docs/formats.md, *Epoch counter*; ADR 10).

Owns its handle, its public area and both of its Names, all of which follow from the policy key: every machine
has the same, so that a policy over the counter can be signed once for all. Defining and counting is the
agent's.
"""

import hashlib
from dataclasses import dataclass

from mantlet_measure.policy import (
    START,
    Comparison,
    authorize_policy,
    nv_policy,
    nv_unwritten_policy,
    or_policy,
)
from mantlet_measure.tpm_structs import Algorithm, name

EPOCH_REFERENCE = "mantlet/epoch"
SIZE = 8
# TCG Registry of Reserved TPM 2.0 Handles and Localities, 2.2.2: NV indices that belong to the owner.
_FIRST_HANDLE = 0x01800000
_HANDLE_BITS = 22
# TPMA_NV (Part 2, 13.4): TPM_NT_COUNTER, POLICYWRITE, AUTHREAD, NO_DA; the first increment adds WRITTEN.
ATTRIBUTES = 1 << 4 | 1 << 3 | 1 << 18 | 1 << 25
WRITTEN = 1 << 29


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochCounter:
    """The counter of one policy key, whose TPMT_PUBLIC it is made of."""

    policy_key: bytes

    @property
    def handle(self) -> int:
        """The NV index: in the owner's range, by the first 22 bits of SHA-256(Name(policy key))."""
        digest = hashlib.sha256(name(self.policy_key)).digest()
        return _FIRST_HANDLE + (int.from_bytes(digest[:3], "big") >> 24 - _HANDLE_BITS)

    @property
    def branches(self) -> tuple[bytes, bytes]:
        """Who may increment: whom the policy key lets; and anybody the first time, which sets the start."""
        return authorize_policy(self.policy_key, EPOCH_REFERENCE.encode("ascii")), nv_unwritten_policy()

    def public(self, *, written: bool) -> bytes:
        """Return the TPMS_NV_PUBLIC (Part 2, 13.6), before or after the first increment."""
        attributes = ATTRIBUTES | (WRITTEN if written else 0)
        head = self.handle.to_bytes(4, "big") + Algorithm.SHA256.to_bytes(2, "big")
        policy = or_policy(self.branches)
        sized = len(policy).to_bytes(2, "big") + policy
        return head + attributes.to_bytes(4, "big") + sized + SIZE.to_bytes(2, "big")

    def name(self, *, written: bool) -> bytes:
        """Return the Name: nameAlg ‖ SHA-256(public area) (Part 1, *Names*)."""
        return Algorithm.SHA256.to_bytes(2, "big") + hashlib.sha256(self.public(written=written)).digest()

    def at_most(self, epoch: int, policy: bytes) -> bytes:
        """Return `policy` with the condition that the counter does not stand above `epoch`."""
        return self._compared(policy, epoch, Comparison.UNSIGNED_LE)

    def below(self, epoch: int) -> bytes:
        """Return the policy whose only condition is that the counter stands below `epoch`."""
        return self._compared(START, epoch, Comparison.UNSIGNED_LT)

    def _compared(self, policy: bytes, epoch: int, comparison: Comparison) -> bytes:
        return nv_policy(
            policy, index_name=self.name(written=True), operand=operand(epoch), comparison=comparison
        )


def operand(epoch: int) -> bytes:
    """Return an epoch as the counter holds it: an unsigned 64-bit big-endian integer."""
    return epoch.to_bytes(SIZE, "big")
