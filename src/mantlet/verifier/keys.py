# SPDX-License-Identifier: Apache-2.0
"""What a key must be before its word counts: the attributes of the attestation key and of the storage root
key.

Follows TPM 2.0 Library, Part 1, *Restricted Attribute* and *Storage Parent*, and Part 2, 8.3 (TPMA_OBJECT).
Whether a key lives in the machine's TPM is the matter of the credential (step 4) and of the certification
(step 7).
"""

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec

from mantlet.verifier.steps import Checks
from mantlet_measure.tpm_structs import (
    Algorithm,
    Attribute,
    Curve,
    EccParameters,
    Public,
    Scheme,
    Symmetric,
    decode_public,
    name,
)

_HELD = Attribute.FIXED_TPM | Attribute.FIXED_PARENT | Attribute.SENSITIVE_DATA_ORIGIN
# Part 1, *Restricted Attribute*: a restricted signing key signs only what the TPM made, or hashed itself.
_ATTESTATION = _HELD | Attribute.RESTRICTED | Attribute.SIGN_ENCRYPT
# Part 1, *Storage Parent*: restricted and decrypting; only then does a duplicate stay inside the TPM.
_STORAGE = _HELD | Attribute.RESTRICTED | Attribute.DECRYPT
_ROLES = Attribute.RESTRICTED | Attribute.SIGN_ENCRYPT | Attribute.DECRYPT | Attribute.X509_SIGN
_AES_128_CFB = Symmetric(key_bits=128, mode=Algorithm.CFB)
_ECDSA_SHA256 = Scheme(algorithm=Algorithm.ECDSA, hash_alg=Algorithm.SHA256)
_HINT = "the machine's agent makes this key itself: an agent of this project makes one that passes"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestationKey:
    """A public key that can sign nothing but what its TPM made. Not yet bound to a TPM: see step 4."""

    name: bytes
    public_key: ec.EllipticCurvePublicKey


def attestation_key(public: bytes) -> AttestationKey:
    """Check the attestation key's TPMT_PUBLIC. RefusedError with all findings, or DecodeError."""
    checks = Checks()
    area = decode_public(public)
    _check_attributes(area, _ATTESTATION, checks)
    point = _check_curve(area, symmetric=Symmetric(), scheme=_ECDSA_SHA256, checks=checks)
    checks.done(hint=_HINT)
    return AttestationKey(name=name(public), public_key=_public_key(point))


def check_storage_key(public: bytes, checks: Checks) -> None:
    """Check the storage root key's TPMT_PUBLIC and add what is wrong to `checks`. DecodeError on other
    bytes."""
    area = decode_public(public)
    _check_attributes(area, _STORAGE, checks)
    _check_curve(area, symmetric=_AES_128_CFB, scheme=Scheme(), checks=checks)


def _check_attributes(area: Public, wanted: Attribute, checks: Checks) -> None:
    checks.equal("name algorithm", expected="SHA256", observed=_algorithm(area.name_alg))
    for attribute in _HELD | _ROLES:
        checks.equal(
            f"attribute {attribute.name}",
            expected="set" if attribute in wanted else "clear",
            observed="set" if attribute in area.attributes else "clear",
        )


def _check_curve(
    area: Public, *, symmetric: Symmetric, scheme: Scheme, checks: Checks
) -> EccParameters | None:
    parameters = area.parameters
    if not isinstance(parameters, EccParameters):
        checks.fault("key type", expected="ECC P-256", observed=type(parameters).__name__)
        return None
    checks.equal("curve", expected=_hex(Curve.NIST_P256), observed=_hex(parameters.curve))
    checks.equal("symmetric cipher", expected=_cipher(symmetric), observed=_cipher(parameters.symmetric))
    checks.equal("scheme", expected=_scheme(scheme), observed=_scheme(parameters.scheme))
    checks.equal("key derivation", expected=_scheme(Scheme()), observed=_scheme(parameters.kdf))
    try:
        _public_key(parameters)
    except ValueError:
        checks.fault("public point", expected="a point on P-256", observed="a point beside it")
    return parameters


def _public_key(point: EccParameters | None) -> ec.EllipticCurvePublicKey:
    if point is None:
        raise AssertionError("a finding always refuses")
    x, y = int.from_bytes(point.x, "big"), int.from_bytes(point.y, "big")
    return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()


def _algorithm(identifier: int) -> str:
    """Return the name of a TPM_ALG_ID, or its number."""
    return Algorithm(identifier).name if identifier in tuple(Algorithm) else _hex(identifier)


def _scheme(scheme: Scheme) -> str:
    if scheme.algorithm == Algorithm.NULL:
        return "none"
    return f"{_algorithm(scheme.algorithm)} with {_algorithm(scheme.hash_alg)}"


def _cipher(symmetric: Symmetric) -> str:
    return f"AES-{symmetric.key_bits}-{_algorithm(symmetric.mode)}" if symmetric.key_bits else "none"


def _hex(identifier: int) -> str:
    return f"{identifier:#06x}"
