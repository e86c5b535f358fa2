# SPDX-License-Identifier: Apache-2.0
"""What the policy key signs: approvals of boots, and statements that raise the epoch.

Follows docs/formats.md, *Approvals* and *Epoch statement*. Whether the registers are those of a good release
is the caller's step: they come from a verified manifest or from a verified machine.
"""

from collections.abc import Iterable, Mapping

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature

from mantlet.tpm.protected_storage import sized
from mantlet.weights.policy import pcr_policy
from mantlet_measure.approvals import LIMIT, Approval, Approvals, Image
from mantlet_measure.deployment import EPOCH_LIMIT
from mantlet_measure.epoch import EpochStatement
from mantlet_measure.epoch_counter import EPOCH_REFERENCE, EpochCounter
from mantlet_measure.errors import MantletError
from mantlet_measure.pcr import ENFORCED, Bank
from mantlet_measure.policy import approval_digest
from mantlet_measure.sealed import policy_reference
from mantlet_measure.tpm_structs import (
    Algorithm,
    Attribute,
    Curve,
    EccParameters,
    Public,
    Scheme,
    Symmetric,
    encode_public,
)


def approve(
    expected: Mapping[Bank, Mapping[int, bytes]],
    *,
    model_id: str,
    epoch: int,
    image: Image,
    policy_key: ec.EllipticCurvePrivateKey,
) -> Approvals:
    """Approve one boot: whoever reaches these registers may open keys of the model, up to the epoch.

    expected: registers 4, 7, 9 and 11 to 15 of both banks, 15 as it stands after the word `weights`. epoch: a
    machine whose counter stands above it opens nothing under this approval. policy_key: P-256.
    """
    public = policy_key_public(policy_key.public_key())
    reference = policy_reference(model_id)
    policy = boot_policy(expected, ENFORCED, epoch=_epoch(epoch), policy_key=public)
    approval = Approval(
        policy=policy,
        epoch=epoch,
        signature=sign_policy(policy, policy_ref=reference, policy_key=policy_key),
        image=image,
    )
    return Approvals(policy_key=public, policy_ref=reference, approvals=(approval,))


def boot_policy(
    values: Mapping[Bank, Mapping[int, bytes]], registers: Iterable[int], *, epoch: int, policy_key: bytes
) -> bytes:
    """Return the digest that an approval signs: PolicyPCR over registers, then the counter up to an epoch.

    values: of each of the registers, in both banks. policy_key: TPMT_PUBLIC.
    """
    return EpochCounter(policy_key=policy_key).at_most(epoch, pcr_policy(values, registers))


def merged(older: Approvals, newer: Approvals) -> Approvals:
    """Return one document of both, each policy once, the newer first. MantletError when they differ."""
    if (older.policy_key, older.policy_ref) != (newer.policy_key, newer.policy_ref):
        raise MantletError(
            f"approvals: expected some of the same policy key for {newer.policy_ref}, "
            f"found some of another key or for {older.policy_ref}",
            hint="add to the approvals of the same model and policy key, or start a new file",
        )
    known = {approval.policy for approval in newer.approvals}
    listed = newer.approvals + tuple(item for item in older.approvals if item.policy not in known)
    if len(listed) > LIMIT:
        raise MantletError(
            f"approvals: expected at most {LIMIT}, found {len(listed)}",
            hint="start a new file: releases below the fleet's epoch open nothing any more",
        )
    return Approvals(policy_key=newer.policy_key, policy_ref=newer.policy_ref, approvals=listed)


def raise_epoch(epoch: int, *, policy_key: ec.EllipticCurvePrivateKey) -> EpochStatement:
    """Sign that counters below `epoch` may be incremented."""
    public = policy_key_public(policy_key.public_key())
    policy = EpochCounter(policy_key=public).below(_epoch(epoch))
    return EpochStatement(
        epoch=epoch,
        policy_key=public,
        policy=policy,
        signature=sign_policy(policy, policy_ref=EPOCH_REFERENCE, policy_key=policy_key),
    )


def sign_policy(policy: bytes, *, policy_ref: str, policy_key: ec.EllipticCurvePrivateKey) -> bytes:
    """Sign one policy digest for PolicyAuthorize under `policy_ref`; return a TPMT_SIGNATURE."""
    digest = approval_digest(policy, policy_ref.encode("ascii"))
    r, s = decode_dss_signature(policy_key.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256()))))
    # Part 2, 11.3.4: TPMT_SIGNATURE is scheme, hash, r, s.
    head = Algorithm.ECDSA.to_bytes(2, "big") + Algorithm.SHA256.to_bytes(2, "big")
    return head + sized(r.to_bytes(32, "big")) + sized(s.to_bytes(32, "big"))


def policy_key_public(key: ec.EllipticCurvePublicKey) -> bytes:
    """Return the TPMT_PUBLIC of a policy key: sign, userWithAuth, ECDSA with SHA-256."""
    if not isinstance(key.curve, ec.SECP256R1):
        raise MantletError(
            f"policy key: expected an EC key on P-256, found one on {key.curve.name}",
            hint="make one with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`",
        )
    numbers = key.public_numbers()
    return encode_public(
        Public(
            name_alg=Algorithm.SHA256,
            attributes=Attribute.SIGN_ENCRYPT | Attribute.USER_WITH_AUTH,
            auth_policy=b"",
            parameters=EccParameters(
                symmetric=Symmetric(),
                scheme=Scheme(algorithm=Algorithm.ECDSA, hash_alg=Algorithm.SHA256),
                curve=Curve.NIST_P256,
                kdf=Scheme(),
                x=numbers.x.to_bytes(32, "big"),
                y=numbers.y.to_bytes(32, "big"),
            ),
        )
    )


def _epoch(epoch: int) -> int:
    if not 1 <= epoch <= EPOCH_LIMIT:
        raise MantletError(
            f"epoch: expected 1 to {EPOCH_LIMIT}, found {epoch}",
            hint="count epochs from 1; each one withdraws what came before it",
        )
    return epoch
