# SPDX-License-Identifier: Apache-2.0
"""Banks, registers and the algebra of `extend` (TPM 2.0 Library, Part 1, *PCR Operations*).

Register names follow UAPI.7 (Linux TPM PCR Registry). It does not know which events a boot makes:
`mantlet.predict` says what should be measured, the logs say what was.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Protocol


class Bank(StrEnum):
    """A PCR bank, named by its hash algorithm."""

    SHA1 = "sha1"
    SHA256 = "sha256"
    SHA384 = "sha384"
    SHA512 = "sha512"

    @property
    def size(self) -> int:
        """Digest size in bytes."""
        return _SIZES[self]

    @property
    def tpm_alg(self) -> int:
        """TPM_ALG_ID of the hash (TCG Algorithm Registry)."""
        return _TPM_ALGS[self]

    def digest(self, data: bytes | memoryview) -> bytes:
        """Return the bank's hash of `data`."""
        # Not by hashlib.new: looking an algorithm up by name costs more than hashing an extend.
        match self:
            case Bank.SHA256:
                return hashlib.sha256(data).digest()
            case Bank.SHA384:
                return hashlib.sha384(data).digest()
            case Bank.SHA512:
                return hashlib.sha512(data).digest()
            case Bank.SHA1:
                # Nothing is trusted for what this bank holds; it is there to be read and predicted.
                return hashlib.sha1(data, usedforsecurity=False).digest()


_SIZES: Mapping[str, int] = {"sha1": 20, "sha256": 32, "sha384": 48, "sha512": 64}
_TPM_ALGS: Mapping[str, int] = {"sha1": 0x0004, "sha256": 0x000B, "sha384": 0x000C, "sha512": 0x000D}

BANKS: tuple[Bank, ...] = (Bank.SHA256, Bank.SHA384)
"""The banks that Mantlet quotes and enforces, in the order of a quote."""

ALL_BANKS: tuple[Bank, ...] = tuple(Bank)
"""The banks that Mantlet can predict and replay."""


class Register(IntEnum):
    """A PCR that Mantlet quotes, named after who measures into it (UAPI.7)."""

    PLATFORM_CODE = 0
    PLATFORM_CONFIG = 1
    EXTERNAL_CODE = 2
    EXTERNAL_CONFIG = 3
    BOOT_LOADER_CODE = 4
    BOOT_LOADER_CONFIG = 5
    HOST_PLATFORM = 6
    SECURE_BOOT_POLICY = 7
    BOOT_LOADER_COMMANDS = 8
    KERNEL_INITRD = 9
    IMA = 10
    KERNEL_BOOT = 11
    KERNEL_CONFIG = 12
    SYSEXTS = 13
    SHIM_POLICY = 14
    SYSTEM_IDENTITY = 15


ENFORCED: tuple[int, ...] = (4, 7, 9, 11, 12, 13, 14, 15)


class Measurement(Protocol):
    """Anything that extends a register: an `Event` that we make, or one that a log tells of."""

    @property
    def register(self) -> int:
        """The register that it extends."""

    @property
    def digests(self) -> Mapping[Bank, bytes]:
        """What it extends it by, in each bank."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One extend of one register that we predict or make ourselves: its type and description are ours.

    What a log tells of is an `eventlog.LoggedEvent`.
    """

    register: int
    digests: Mapping[Bank, bytes]
    type: str
    description: str


def zero(bank: Bank) -> bytes:
    """Return the value of a register that nothing has extended."""
    return bytes(bank.size)


def extend(bank: Bank, value: bytes, digest: bytes) -> bytes:
    """Return H(value ‖ digest). ValueError unless both have the size of the bank."""
    if len(value) != bank.size or len(digest) != bank.size:
        raise ValueError(
            f"{bank} extends {bank.size} bytes by {bank.size}, not {len(value)} by {len(digest)}"
        )
    return bank.digest(value + digest)


def replay(bank: Bank, digests: Iterable[bytes], *, start: bytes | None = None) -> bytes:
    """Fold `digests` by extend, from `start` or from zero."""
    value = zero(bank) if start is None else start
    for digest in digests:
        value = extend(bank, value, digest)
    return value


def replay_events(bank: Bank, events: Iterable[Measurement], *, locality: int = 0) -> Mapping[int, bytes]:
    """Fold a log into the values of every register it names; registers 0 to 15 are always there.

    `locality` is the one of TPM2_Startup, which register 0 starts from (PFP, *Startup Locality Event*).
    ValueError when an event has no digest of this bank.
    """
    values = {int(register): zero(bank) for register in Register}
    values[0] = bytes(bank.size - 1) + bytes([locality])
    for event in events:
        if bank not in event.digests:
            raise ValueError(f"an event of register {event.register} has no digest of bank {bank}")
        register = int(event.register)
        values[register] = extend(bank, values.get(register, zero(bank)), event.digests[bank])
    return values


def measured(
    register: int,
    data: bytes | memoryview,
    *,
    type: str,
    description: str,
    banks: tuple[Bank, ...] = BANKS,
) -> Event:
    """Return the event of measuring `data` into `register`: its hash in each of `banks`."""
    return Event(
        register=register,
        digests={bank: bank.digest(data) for bank in banks},
        type=type,
        description=description,
    )
