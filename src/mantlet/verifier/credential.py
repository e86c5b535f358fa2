# SPDX-License-Identifier: Apache-2.0
"""The credential: a secret that only the TPM of an endorsement key can give back, and only for one
attestation key.

Follows TPM 2.0 Library, Part 1, *Credential Protection* (MakeCredential without a TPM) and Part 3, 12.5 and
12.6. The machine answers with TPM2_ActivateCredential, which releases the secret only if the named key is
loaded beside the EK.
"""

import hmac
from collections.abc import Callable
from dataclasses import dataclass

from mantlet.tpm.protected_storage import Entropy, Protection, PublicKey, outer_wrap, share_seed, sized
from mantlet.verifier.endorsement import EndorsementKey
from mantlet.verifier.keys import AttestationKey
from mantlet.verifier.steps import Checks

SECRET_SIZE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """The contents of TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET, the arguments of
    TPM2_ActivateCredential."""

    credential_blob: bytes
    encrypted_secret: bytes


Activate = Callable[[Credential], bytes]
"""Has the machine activate a credential and returns the secret that it gives back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundKey:
    """An attestation key that lives in the TPM of an endorsement key."""

    attestation_key: AttestationKey
    endorsement_key: EndorsementKey


def make_credential(
    endorsement_key: PublicKey, protection: Protection, *, name: bytes, secret: bytes, entropy: Entropy
) -> Credential:
    """Close `secret` for the object with this name in the TPM of `endorsement_key`."""
    shared = share_seed(endorsement_key, protection, "IDENTITY", entropy)
    # Part 1, 24.4: encIdentity is the encrypted TPM2B of the secret, without a size of its own.
    blob = outer_wrap(shared.seed, protection, name=name, sensitive=sized(secret))
    return Credential(credential_blob=blob, encrypted_secret=shared.encrypted)


def bind(
    attestation_key: AttestationKey,
    endorsement_key: EndorsementKey,
    *,
    activate: Activate,
    entropy: Entropy,
) -> BoundKey:
    """Challenge the machine to prove that both keys live in one TPM. RefusedError if it gives back another
    secret."""
    secret = entropy(SECRET_SIZE)
    answer = activate(
        make_credential(
            endorsement_key.public_key,
            endorsement_key.protection,
            name=attestation_key.name,
            secret=secret,
            entropy=entropy,
        )
    )
    checks = Checks()
    if not hmac.compare_digest(secret, answer):
        checks.fault("secret", expected="the one that was sent", observed=f"{len(answer)} other bytes")
    checks.done(
        hint="the attestation key is not in the TPM that the certificate is for: do not trust this machine"
    )
    return BoundKey(attestation_key=attestation_key, endorsement_key=endorsement_key)
