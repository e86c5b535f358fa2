# SPDX-License-Identifier: Apache-2.0
"""Seals a data key for one machine: wrapped for its TPM, released only in the boot state that the policy key
approves.

Follows docs/formats.md, *Sealed key*. It trusts the storage root key and the expected registers that it is
given: verifying them is the caller's step, and `mantlet weights seal` does it first.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature

from mantlet.tpm.protected_storage import Entropy, sized
from mantlet.weights.policy import approval_digest, authorize_policy, pcr_policy
from mantlet.weights.wrap import data_object, wrap
from mantlet_measure.disk_key import DATA_KEY_SIZE
from mantlet_measure.errors import MantletError
from mantlet_measure.pcr import ENFORCED, Bank
from mantlet_measure.sealed import Approval, SealedKey, policy_reference
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
    expected: Mapping[Bank, Mapping[int, bytes]],
    policy_key: ec.EllipticCurvePrivateKey,
    entropy: Entropy,
) -> SealedKey:
    """Seal a 32-byte data key for the TPM of `srk_public` (TPMT_PUBLIC) and the registers `expected`.

    expected: registers 4, 7, 9 and 11 to 15 of both banks, 15 as it stands after the word `weights`.
    policy_key: P-256; whoever holds it approves which boot states may open the key. MantletError on other
    keys.
    """
    if len(data_key) != DATA_KEY_SIZE:
        raise MantletError(
            f"data key: expected {DATA_KEY_SIZE} bytes, found {len(data_key)}",
            hint="pass the key file that `mantlet weights pack` wrote beside the pack",
        )
    policy_ref = policy_reference(model.id)
    policy_public = policy_key_public(policy_key.public_key())
    auth_policy = authorize_policy(policy_public, policy_ref.encode("ascii"))
    content = data_object(data_key, auth_policy=auth_policy, entropy=entropy)
    duplicate = wrap(srk_public, content, entropy=entropy)
    return SealedKey(
        model=model.id,
        root_hash=model.root_hash,
        object_public=duplicate.object_public,
        duplicate=duplicate.duplicate,
        encrypted_seed=duplicate.encrypted_seed,
        policy_key=policy_public,
        policy_ref=policy_ref,
        approvals=(approve(pcr_policy(expected, ENFORCED), policy_ref=policy_ref, policy_key=policy_key),),
    )


def approve(policy: bytes, *, policy_ref: str, policy_key: ec.EllipticCurvePrivateKey) -> Approval:
    """Sign one PolicyPCR digest, so that PolicyAuthorize accepts it under `policy_ref`."""
    digest = approval_digest(policy, policy_ref.encode("ascii"))
    r, s = decode_dss_signature(policy_key.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256()))))
    # Part 2, 11.3.4: TPMT_SIGNATURE is scheme, hash, r, s.
    head = Algorithm.ECDSA.to_bytes(2, "big") + Algorithm.SHA256.to_bytes(2, "big")
    signature = head + sized(r.to_bytes(32, "big")) + sized(s.to_bytes(32, "big"))
    return Approval(policy=policy, signature=signature)


def policy_key_public(key: ec.EllipticCurvePublicKey) -> bytes:
    """Return the TPMT_PUBLIC under which a TPM loads the policy key: sign, userWithAuth, ECDSA with
    SHA-256."""
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
