# SPDX-License-Identifier: Apache-2.0
"""Decodes what a TPM attests: TPMS_ATTEST of a quote or a certification, and ECDSA TPMT_SIGNATURE.

Follows TPM 2.0 Library, Part 2 (version 184), clauses 10.12 and 11.3.4. Decoding believes nothing: a decoded
structure has been signed by nobody until `mantlet.verifier.quote` says so.
"""

from dataclasses import dataclass
from enum import IntEnum

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from mantlet_measure.reader import Reader

_GENERATED = 0xFF544347
_SHA256 = 0x000B
_ECDSA = 0x0018
_BANKS = 16


class AttestType(IntEnum):
    """TPMI_ST_ATTEST (Part 2, 10.12.10), of which Mantlet asks for two."""

    CERTIFY = 0x8017
    QUOTE = 0x8018


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """TPMS_CLOCK_INFO (Part 2, 10.11.1). `safe`: no higher clock value was reported before."""

    milliseconds: int
    reset_count: int
    restart_count: int
    safe: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """TPMS_PCR_SELECTION: the registers that are selected in the bank of a TPM_ALG_ID."""

    algorithm: int
    registers: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attest:
    """What the structures of both types have in common (Part 2, 10.12.12)."""

    extra_data: bytes
    clock: Clock
    firmware_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteAttest(Attest):
    """TPMS_ATTEST of TPM2_Quote: the selection, and the digest over the selected values."""

    selections: tuple[Selection, ...]
    pcr_digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifyAttest(Attest):
    """TPMS_ATTEST of TPM2_Certify: the name of the object that is loaded in the TPM."""

    name: bytes


def decode_quote(data: bytes) -> QuoteAttest:
    """Decode a TPMS_ATTEST of type TPM_ST_ATTEST_QUOTE. DecodeError on anything else."""
    reader = Reader(data, "quote")
    extra_data, clock, firmware_version = _head(reader, AttestType.QUOTE)
    # Part 2, 10.12.1: TPMS_QUOTE_INFO is the selection, then the digest of the selected registers.
    count = reader.u32be()
    if count > _BANKS:
        reader.refuse(expected=f"at most {_BANKS} selections", found=str(count))
    selections = tuple(_selection(reader) for _ in range(count))
    pcr_digest = reader.sized16be(64)
    reader.end()
    return QuoteAttest(
        extra_data=extra_data,
        clock=clock,
        firmware_version=firmware_version,
        selections=selections,
        pcr_digest=pcr_digest,
    )


def decode_certify(data: bytes) -> CertifyAttest:
    """Decode a TPMS_ATTEST of type TPM_ST_ATTEST_CERTIFY. DecodeError on anything else."""
    reader = Reader(data, "certification")
    extra_data, clock, firmware_version = _head(reader, AttestType.CERTIFY)
    # Part 2, 10.12.3: TPMS_CERTIFY_INFO is the name of the object, then its qualified name.
    name = reader.sized16be(68)
    reader.sized16be(68)
    reader.end()
    return CertifyAttest(extra_data=extra_data, clock=clock, firmware_version=firmware_version, name=name)


def decode_signature(data: bytes) -> bytes:
    """Decode a TPMT_SIGNATURE of ECDSA with SHA-256 into the DER that X9.62 verifiers take. DecodeError
    otherwise."""
    reader = Reader(data, "TPM signature")
    # Part 2, 11.3.4 and 11.3.2: scheme, hash, r, s; both integers in a TPM2B, big-endian.
    algorithm, digest = reader.u16be(), reader.u16be()
    if (algorithm, digest) != (_ECDSA, _SHA256):
        reader.refuse(expected="ECDSA with SHA-256", found=f"{algorithm:#06x} with {digest:#06x}", offset=0)
    r, s = reader.sized16be(32), reader.sized16be(32)
    reader.end()
    return encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))


def _head(reader: Reader, kind: AttestType) -> tuple[bytes, Clock, int]:
    # Part 2, 10.12.12: a restricted key signs outside data only if it does not start with
    # TPM_GENERATED_VALUE, so these four bytes say that a TPM made the structure.
    magic = reader.u32be()
    if magic != _GENERATED:
        reader.refuse(expected=f"TPM_GENERATED_VALUE {_GENERATED:#010x}", found=f"{magic:#010x}", offset=0)
    found = reader.u16be()
    if found != kind:
        reader.refuse(expected=f"type {kind:#06x} ({kind.name.lower()})", found=f"{found:#06x}", offset=4)
    reader.sized16be(68)  # qualifiedSigner: the signature itself names the key.
    extra_data = reader.sized16be(64)
    milliseconds, reset_count, restart_count, safe = (
        reader.u64be(),
        reader.u32be(),
        reader.u32be(),
        reader.u8(),
    )
    if safe > 1:
        reader.refuse(expected="YES or NO (TPMI_YES_NO)", found=str(safe))
    clock = Clock(
        milliseconds=milliseconds, reset_count=reset_count, restart_count=restart_count, safe=safe == 1
    )
    return extra_data, clock, reader.u64be()


def _selection(reader: Reader) -> Selection:
    # Part 2, 10.6.1: register n is bit n mod 8 of octet n div 8.
    algorithm = reader.u16be()
    size = reader.u8()
    mask = int.from_bytes(reader.take(size), "little")
    return Selection(algorithm=algorithm, registers=tuple(bit for bit in range(size * 8) if mask >> bit & 1))
