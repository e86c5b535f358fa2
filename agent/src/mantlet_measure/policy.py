# SPDX-License-Identifier: Apache-2.0
"""Digests of TPM policies over SHA-256, computed without a TPM (TPM 2.0 Library, Part 3, *Enhanced
Authorization*).

Owns the formulas that the agent and the tool both need: what a signed policy says is computed by whoever
signs it, and recognised by the machine that presents it. It decides neither what is approved nor by whom.
"""

import hashlib
from collections.abc import Sequence
from enum import IntEnum

from mantlet_measure.tpm_structs import name

START = bytes(32)


class Command(IntEnum):
    """TPM_CC of the policy commands (Part 2, 6.5.2)."""

    POLICY_NV = 0x149
    POLICY_AUTHORIZE = 0x16A
    POLICY_OR = 0x171
    POLICY_PCR = 0x17F
    POLICY_NV_WRITTEN = 0x18F


class Comparison(IntEnum):
    """TPM_EO (Part 2, 6.8): how the content of an index compares with the operand."""

    UNSIGNED_LT = 0x0005
    UNSIGNED_LE = 0x0009


def update(policy: bytes, command: Command, data: bytes) -> bytes:
    """Return H(policy ‖ command ‖ data): PolicyUpdate (Part 3, 23.2.3) without a reference."""
    return hashlib.sha256(policy + command.to_bytes(4, "big") + data).digest()


def nv_policy(policy: bytes, *, index_name: bytes, operand: bytes, comparison: Comparison) -> bytes:
    """Return the digest of a session that held `policy`, after PolicyNV at offset 0.

    Source: Part 3, 23.9: H(old ‖ TPM_CC_PolicyNV ‖ H(operandB ‖ offset ‖ operation) ‖ Name of the index).
    """
    arguments = hashlib.sha256(operand + bytes(2) + comparison.to_bytes(2, "big")).digest()
    return update(policy, Command.POLICY_NV, arguments + index_name)


def authorize_policy(policy_key_public: bytes, policy_ref: bytes) -> bytes:
    """Return the digest of PolicyAuthorize for a key (TPMT_PUBLIC) and a reference.

    Source: Part 3, 23.16, and PolicyUpdate in 23.2.3: H(H(0 ‖ TPM_CC_PolicyAuthorize ‖ Name(key)) ‖
    policyRef).
    DecodeError when the key is no TPMT_PUBLIC.
    """
    first = update(START, Command.POLICY_AUTHORIZE, name(policy_key_public))
    return hashlib.sha256(first + policy_ref).digest()


def or_policy(branches: Sequence[bytes]) -> bytes:
    """Return the digest of PolicyOR (Part 3, 23.6): H(0 ‖ TPM_CC_PolicyOR ‖ the branches)."""
    return update(START, Command.POLICY_OR, b"".join(branches))


def nv_unwritten_policy() -> bytes:
    """Return the digest of PolicyNvWritten(NO) (Part 3, 23.20), which holds until the first write."""
    return update(START, Command.POLICY_NV_WRITTEN, b"\0")


def approval_digest(policy: bytes, policy_ref: bytes) -> bytes:
    """Return what a policy key signs to approve `policy`: SHA-256(policy ‖ policyRef) (Part 3, 23.16)."""
    return hashlib.sha256(policy + policy_ref).digest()
