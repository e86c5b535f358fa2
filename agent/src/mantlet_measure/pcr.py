# SPDX-License-Identifier: Apache-2.0
"""Banks, registers and the algebra of `extend` (TPM 2.0 Library, Part 1, *PCR Operations*).

Register names follow UAPI.7 (Linux TPM PCR Registry). It does not know which events a boot makes:
`mantlet.predict` says what should be measured, the logs say what was.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Bank(StrEnum):
    """A PCR bank, named by its hash algorithm."""

    SHA256 = "sha256"
    SHA384 = "sha384"

    @property
    def size(self) -> int:
        """Digest size in bytes."""
        return 32 if self is Bank.SHA256 else 48

    @property
    def tpm_alg(self) -> int:
        """TPM_ALG_ID of the hash (TCG Algorithm Registry)."""
        return 0x000B if self is Bank.SHA256 else 0x000C

    def digest(self, data: bytes | memoryview) -> bytes:
        """Return the bank's hash of `data`."""
        return hashlib.new(self.value, data).digest()


BANKS: tuple[Bank, ...] = (Bank.SHA256, Bank.SHA384)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One extend of one register.

    Replay proves `digests`. `claimed_type` and `description` are what the log says of it, which replay does
    not prove.
    """

    register: int
    digests: Mapping[Bank, bytes]
    claimed_type: str
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


def replay_events(bank: Bank, events: Iterable[Event], *, locality: int = 0) -> Mapping[int, bytes]:
    """Fold a log into the values of every register it names; registers 0 to 15 are always there.

    `locality` is the one of TPM2_Startup, which register 0 starts from (PFP, *Startup Locality Event*).
    """
    values = {int(register): zero(bank) for register in Register}
    values[0] = bytes(bank.size - 1) + bytes([locality])
    for event in events:
        values[event.register] = extend(bank, values.get(event.register, zero(bank)), event.digests[bank])
    return values


def measured(register: int, data: bytes | memoryview, *, claimed_type: str, description: str) -> Event:
    """Return the event of measuring `data` into `register`: its hash, in both banks."""
    return Event(
        register=register,
        digests={bank: bank.digest(data) for bank in BANKS},
        claimed_type=claimed_type,
        description=description,
    )
