# SPDX-License-Identifier: Apache-2.0
"""Wraps a data object for a TPM's storage root key, offline, so that TPM2_Import takes it and nobody else can
open it.

Follows TPM 2.0 Library, Part 1, *Duplication* (outer wrap, no inner one), and Part 2, 12.2.3 and 12.3. What
the object may be used for is its policy's matter, which is computed by `seal`.
"""

import hashlib
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec

from mantlet.tpm.protected_storage import SHA256_AES128, Entropy, outer_wrap, share_seed, sized
from mantlet_measure.errors import MantletError
from mantlet_measure.tpm_structs import (
    Algorithm,
    Attribute,
    Curve,
    EccParameters,
    KeyedHashParameters,
    Public,
    Scheme,
    Symmetric,
    decode_public,
    encode_public,
    name,
)

_SEED_SIZE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class DataObject:
    """A sealed data object before it is wrapped: TPMT_PUBLIC and TPMT_SENSITIVE."""

    public: bytes
    sensitive: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """The arguments of TPM2_Import: TPMT_PUBLIC, and the contents of TPM2B_PRIVATE and
    TPM2B_ENCRYPTED_SECRET."""

    object_public: bytes
    duplicate: bytes
    encrypted_seed: bytes


def data_object(data: bytes, *, auth_policy: bytes, entropy: Entropy) -> DataObject:
    """Make the object that holds `data` (at most 128 bytes) and answers to `auth_policy` alone.

    No userWithAuth: the empty authorization opens nothing. No fixedTPM, fixedParent: it comes from outside.
    noDA: a refused policy must not lock the machine out of its own TPM.
    """
    if not 1 <= len(data) <= 128:
        raise ValueError(f"a sealed data object holds 1 to 128 bytes, not {len(data)}")
    seed = entropy(_SEED_SIZE)
    public = Public(
        name_alg=Algorithm.SHA256,
        attributes=Attribute.NO_DA,
        auth_policy=auth_policy,
        # Part 2, 12.3.2.3: unique is H(seedValue ‖ sensitive data), so that the public area betrays nothing.
        parameters=KeyedHashParameters(scheme=Scheme(), unique=hashlib.sha256(seed + data).digest()),
    )
    # Part 2, 12.3.2.4: TPMT_SENSITIVE is type, authValue, seedValue, then the data.
    sensitive = Algorithm.KEYEDHASH.to_bytes(2, "big") + sized(b"") + sized(seed) + sized(data)
    return DataObject(public=encode_public(public), sensitive=sensitive)


def wrap(parent_public: bytes, content: DataObject, *, entropy: Entropy) -> Duplicate:
    """Wrap `content` for the parent, a TPMT_PUBLIC of ECC P-256 with SHA-256 and AES-128-CFB.

    Whether that parent is what it should be has been verified before (step 7), or is the caller's word.
    """
    # Part 1, 23.3.2.3: the seed is shared for DUPLICATE, and the wrap covers the TPM2B of the sensitive area.
    shared = share_seed(_parent_key(parent_public), SHA256_AES128, "DUPLICATE", entropy)
    wrapped = outer_wrap(
        shared.seed, SHA256_AES128, name=name(content.public), sensitive=sized(content.sensitive)
    )
    return Duplicate(object_public=content.public, duplicate=wrapped, encrypted_seed=shared.encrypted)


def _parent_key(parent_public: bytes) -> ec.EllipticCurvePublicKey:
    area = decode_public(parent_public)
    parameters = area.parameters
    fits = (
        isinstance(parameters, EccParameters)
        and area.name_alg == Algorithm.SHA256
        and parameters.curve == Curve.NIST_P256
        and parameters.symmetric == Symmetric(key_bits=128, mode=Algorithm.CFB)
        and (Attribute.RESTRICTED | Attribute.DECRYPT) in area.attributes
    )
    try:
        if isinstance(parameters, EccParameters) and fits:
            x, y = int.from_bytes(parameters.x, "big"), int.from_bytes(parameters.y, "big")
            return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
        found = f"{type(parameters).__name__}, attributes {area.attributes!r}"
    except ValueError:
        found = "a point that is not on the curve"
    raise MantletError(
        f"storage root key: expected a storage key on P-256 with SHA-256 and AES-128-CFB, found {found}",
        hint="pass the TPMT_PUBLIC of the machine's ECC storage root key (0x81000001)",
    )
