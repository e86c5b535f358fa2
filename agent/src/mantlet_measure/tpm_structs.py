# SPDX-License-Identifier: Apache-2.0
"""TPMT_PUBLIC and the Name of an object (TPM 2.0 Library, Part 2, *TPMT_PUBLIC*; Part 1, *Names*).

Owns what both attester and verifier run: the public areas of ECC, RSA and KEYEDHASH objects, byte for byte.
What a TPM signs (TPMS_ATTEST, TPMT_SIGNATURE) is decoded by the verifier alone, in its own room.
"""

import hashlib
from dataclasses import dataclass
from enum import IntEnum, IntFlag

from mantlet_measure.reader import Reader

WHAT = "TPMT_PUBLIC"
_DIGEST_LIMIT = 64
_UNIQUE_LIMIT = 512


class Algorithm(IntEnum):
    """TPM_ALG_ID (TCG Algorithm Registry), those that Mantlet meets."""

    RSA = 0x0001
    HMAC = 0x0005
    AES = 0x0006
    KEYEDHASH = 0x0008
    XOR = 0x000A
    SHA256 = 0x000B
    SHA384 = 0x000C
    SHA512 = 0x000D
    NULL = 0x0010
    RSASSA = 0x0014
    RSAES = 0x0015
    RSAPSS = 0x0016
    OAEP = 0x0017
    ECDSA = 0x0018
    ECDH = 0x0019
    ECC = 0x0023
    CFB = 0x0043


class Curve(IntEnum):
    """TPM_ECC_CURVE."""

    NIST_P256 = 0x0003
    NIST_P384 = 0x0004


class Attribute(IntFlag):
    """TPMA_OBJECT."""

    FIXED_TPM = 1 << 1
    ST_CLEAR = 1 << 2
    FIXED_PARENT = 1 << 4
    SENSITIVE_DATA_ORIGIN = 1 << 5
    USER_WITH_AUTH = 1 << 6
    ADMIN_WITH_POLICY = 1 << 7
    NO_DA = 1 << 10
    ENCRYPTED_DUPLICATION = 1 << 11
    RESTRICTED = 1 << 16
    DECRYPT = 1 << 17
    SIGN_ENCRYPT = 1 << 18
    X509_SIGN = 1 << 19


_KNOWN = sum(Attribute)
_HASH_NAMES = {Algorithm.SHA256: "sha256", Algorithm.SHA384: "sha384", Algorithm.SHA512: "sha512"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Symmetric:
    """TPMT_SYM_DEF_OBJECT: AES only; `key_bits` 0 stands for TPM_ALG_NULL."""

    key_bits: int = 0
    mode: int = Algorithm.CFB


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """A signing, encryption or key derivation scheme; `hash_alg` is NULL where the scheme has none."""

    algorithm: int = Algorithm.NULL
    hash_alg: int = Algorithm.NULL


@dataclass(frozen=True, slots=True, kw_only=True)
class EccParameters:
    """TPMS_ECC_PARMS with its TPMS_ECC_POINT."""

    symmetric: Symmetric
    scheme: Scheme
    curve: int
    kdf: Scheme
    x: bytes
    y: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RsaParameters:
    """TPMS_RSA_PARMS with its modulus; exponent 0 means 65537."""

    symmetric: Symmetric
    scheme: Scheme
    key_bits: int
    exponent: int
    modulus: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyedHashParameters:
    """TPMS_KEYEDHASH_PARMS with its unique digest."""

    scheme: Scheme
    unique: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Public:
    """TPMT_PUBLIC."""

    name_alg: int
    attributes: Attribute
    auth_policy: bytes
    parameters: EccParameters | RsaParameters | KeyedHashParameters


def decode_public(data: bytes) -> Public:
    """Decode a TPMT_PUBLIC (without its TPM2B size). DecodeError on anything else."""
    reader = Reader(data, WHAT)
    kind = reader.u16be()
    name_alg = reader.u16be()
    if name_alg not in _HASH_NAMES:
        reader.refuse(
            expected="a nameAlg of SHA-256, SHA-384 or SHA-512", found=f"0x{name_alg:04x}", offset=2
        )
    bits = reader.u32be()
    if bits & ~_KNOWN:
        reader.refuse(expected="no reserved attribute", found=f"0x{bits & ~_KNOWN:08x}", offset=4)
    auth_policy = reader.sized16be(_DIGEST_LIMIT)
    parameters: EccParameters | RsaParameters | KeyedHashParameters
    match kind:
        case Algorithm.ECC:
            parameters = _ecc(reader)
        case Algorithm.RSA:
            parameters = _rsa(reader)
        case Algorithm.KEYEDHASH:
            parameters = _keyed_hash(reader)
        case _:
            reader.refuse(expected="an ECC, RSA or KEYEDHASH object", found=f"type 0x{kind:04x}", offset=0)
    reader.end()
    return Public(
        name_alg=name_alg, attributes=Attribute(bits), auth_policy=auth_policy, parameters=parameters
    )


def _symmetric(reader: Reader) -> Symmetric:
    start = reader.offset
    algorithm = reader.u16be()
    if algorithm == Algorithm.NULL:
        return Symmetric()
    key_bits, mode = reader.u16be(), reader.u16be()
    if algorithm != Algorithm.AES or key_bits not in (128, 192, 256):
        reader.refuse(expected="AES or NULL", found=f"0x{algorithm:04x} of {key_bits} bits", offset=start)
    return Symmetric(key_bits=key_bits, mode=mode)


def _scheme(reader: Reader, hashed: tuple[Algorithm, ...], plain: tuple[Algorithm, ...] = ()) -> Scheme:
    start = reader.offset
    algorithm = reader.u16be()
    if algorithm == Algorithm.NULL or algorithm in plain:
        return Scheme(algorithm=algorithm)
    if algorithm not in hashed:
        reader.refuse(expected="a scheme of this kind of object", found=f"0x{algorithm:04x}", offset=start)
    return Scheme(algorithm=algorithm, hash_alg=reader.u16be())


# TPM_ALG_MGF1, KDF1_SP800_56A, KDF2, KDF1_SP800_108: TPMT_KDF_SCHEME
_KDFS = (0x0007, 0x0020, 0x0021, 0x0022)


def _kdf(reader: Reader) -> Scheme:
    start = reader.offset
    algorithm = reader.u16be()
    if algorithm == Algorithm.NULL:
        return Scheme()
    if algorithm not in _KDFS:
        reader.refuse(expected="a key derivation or NULL", found=f"0x{algorithm:04x}", offset=start)
    return Scheme(algorithm=algorithm, hash_alg=reader.u16be())


def _ecc(reader: Reader) -> EccParameters:
    return EccParameters(
        symmetric=_symmetric(reader),
        scheme=_scheme(reader, (Algorithm.ECDSA, Algorithm.ECDH)),
        curve=reader.u16be(),
        kdf=_kdf(reader),
        x=reader.sized16be(_UNIQUE_LIMIT),
        y=reader.sized16be(_UNIQUE_LIMIT),
    )


def _rsa(reader: Reader) -> RsaParameters:
    return RsaParameters(
        symmetric=_symmetric(reader),
        scheme=_scheme(reader, (Algorithm.RSASSA, Algorithm.RSAPSS, Algorithm.OAEP), (Algorithm.RSAES,)),
        key_bits=reader.u16be(),
        exponent=reader.u32be(),
        modulus=reader.sized16be(_UNIQUE_LIMIT),
    )


def _keyed_hash(reader: Reader) -> KeyedHashParameters:
    # TPMS_SCHEME_XOR carries a key derivation that Mantlet never meets: an unknown scheme like others.
    return KeyedHashParameters(
        scheme=_scheme(reader, (Algorithm.HMAC,)), unique=reader.sized16be(_UNIQUE_LIMIT)
    )


def _u16(value: int) -> bytes:
    return value.to_bytes(2, "big")


def _sized(data: bytes) -> bytes:
    return _u16(len(data)) + data


def _symmetric_bytes(symmetric: Symmetric) -> bytes:
    if symmetric.key_bits == 0:
        return _u16(Algorithm.NULL)
    return _u16(Algorithm.AES) + _u16(symmetric.key_bits) + _u16(symmetric.mode)


def _scheme_bytes(scheme: Scheme) -> bytes:
    bare = scheme.algorithm in (Algorithm.NULL, Algorithm.RSAES)
    return _u16(scheme.algorithm) + (b"" if bare else _u16(scheme.hash_alg))


def _parameters_bytes(
    parameters: EccParameters | RsaParameters | KeyedHashParameters,
) -> tuple[Algorithm, bytes]:
    if isinstance(parameters, KeyedHashParameters):
        return Algorithm.KEYEDHASH, _scheme_bytes(parameters.scheme) + _sized(parameters.unique)
    head = _symmetric_bytes(parameters.symmetric) + _scheme_bytes(parameters.scheme)
    if isinstance(parameters, RsaParameters):
        numbers = _u16(parameters.key_bits) + parameters.exponent.to_bytes(4, "big")
        return Algorithm.RSA, head + numbers + _sized(parameters.modulus)
    curve = _u16(parameters.curve) + _scheme_bytes(parameters.kdf)
    return Algorithm.ECC, head + curve + _sized(parameters.x) + _sized(parameters.y)


def encode_public(public: Public) -> bytes:
    """Encode a TPMT_PUBLIC (without its TPM2B size), the inverse of `decode_public`."""
    kind, detail = _parameters_bytes(public.parameters)
    head = _u16(kind) + _u16(public.name_alg) + int(public.attributes).to_bytes(4, "big")
    return head + _sized(public.auth_policy) + detail


def name(public: bytes) -> bytes:
    """Return the Name of the object with this TPMT_PUBLIC: nameAlg ‖ H_nameAlg(public) (Part 1, *Names*).

    DecodeError when the nameAlg is not SHA-256, SHA-384 or SHA-512.
    """
    reader = Reader(public, WHAT)
    reader.u16be()
    name_alg = reader.u16be()
    if name_alg not in _HASH_NAMES:
        reader.refuse(
            expected="a nameAlg of SHA-256, SHA-384 or SHA-512", found=f"0x{name_alg:04x}", offset=2
        )
    return _u16(name_alg) + hashlib.new(_HASH_NAMES[Algorithm(name_alg)], public).digest()
