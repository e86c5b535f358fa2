# SPDX-License-Identifier: Apache-2.0
"""Seals a data key for one machine: wrapped for its TPM, and opened only as the policy key approves.

Follows docs/formats.md, *Sealed key*. It trusts the storage root key that it is given: verifying it is the
caller's step, and `mantlet weights seal` does it first. Which boots are approved is `approve`'s matter: a
sealed key outlives them.
"""

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec

from mantlet.tpm.protected_storage import Entropy
from mantlet.weights.approve import policy_key_public
from mantlet.weights.wrap import data_object, wrap
from mantlet_measure.disk_key import DATA_KEY_SIZE, key_id
from mantlet_measure.errors import MantletError
from mantlet_measure.policy import authorize_policy
from mantlet_measure.sealed import SealedKey, policy_reference
from mantlet_measure.tpm_structs import name


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedModel:
    """What a data key is the key of."""

    id: str
    root_hash: bytes


def seal(
    data_key: bytes,
    *,
    srk_public: bytes,
    model: SealedModel,
    policy_key: ec.EllipticCurvePublicKey,
    entropy: Entropy,
) -> SealedKey:
    """Seal a 32-byte data key for the TPM of `srk_public` (TPMT_PUBLIC).

    policy_key: P-256; whoever holds its private half approves which boots may open the key. MantletError on
    other keys.
    """
    if len(data_key) != DATA_KEY_SIZE:
        raise MantletError(
            f"data key: expected {DATA_KEY_SIZE} bytes, found {len(data_key)}",
            hint="pass the key file that `mantlet weights pack` wrote beside the pack",
        )
    policy_ref = policy_reference(model.id)
    policy_public = policy_key_public(policy_key)
    auth_policy = authorize_policy(policy_public, policy_ref.encode("ascii"))
    content = data_object(data_key, auth_policy=auth_policy, entropy=entropy)
    duplicate = wrap(srk_public, content, entropy=entropy)
    return SealedKey(
        model=model.id,
        root_hash=model.root_hash,
        key_id=key_id(data_key),
        srk_name=name(srk_public),
        object_public=duplicate.object_public,
        duplicate=duplicate.duplicate,
        encrypted_seed=duplicate.encrypted_seed,
        policy_key=policy_public,
        policy_ref=policy_ref,
    )
