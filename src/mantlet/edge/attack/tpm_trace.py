# SPDX-License-Identifier: Apache-2.0
"""What a TPM was told in one boot, read from its own log: a source that shares nothing with event logs,
quotes and predictions.

swtpm (level 20) writes each command and each answer as a hex dump. Numbers are those of the TPM 2.0 Library,
Part 2 (TPM_CC, TPM_RC) and the TCG Algorithm Registry.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mantlet_measure.errors import DecodeError

SUCCESS = 0x000
# RC_FMT1 VALUE for parameter 1; RC_FMT1 POLICY_FAIL for session 1.
VALUE_OF_PARAMETER_1 = 0x1C4
POLICY_FAIL_OF_SESSION_1 = 0x99D

STARTUP, PCR_EXTEND, PCR_EVENT, SEQUENCE_COMPLETE, PCR_RESET = 0x144, 0x182, 0x13C, 0x185, 0x13D
UNSEAL, POLICY_AUTHORIZE, CREATE_PRIMARY = 0x15E, 0x16A, 0x131

_SESSIONS = 0x8002
_RH_NULL = 0x40000007
_HASHES = {0x000B: ("sha256", 32), 0x000C: ("sha384", 48)}
_SIZES = {0x0004: 20, 0x000D: 64} | {number: size for number, (_, size) in _HASHES.items()}
_HEAD = re.compile(r"\s*SWTPM_IO_(Read|Write): length (\d+)\s*")
_HEX = re.compile(r"\s*(?:[0-9A-F]{2}\s+)+")


@dataclass(frozen=True)
class Exchange:
    """One command and its answer."""

    command: bytes
    answer: bytes

    @property
    def code(self) -> int:
        """TPM_CC."""
        return int.from_bytes(self.command[6:10], "big")

    @property
    def result(self) -> int:
        """TPM_RC."""
        return int.from_bytes(self.answer[6:10], "big")


@dataclass(frozen=True)
class Extension:
    """One extend that the TPM accepted: its place in the trace, the register, the digest of each bank."""

    place: int
    register: int
    digests: dict[str, bytes]


class Trace:
    """The exchanges of one boot, from the last TPM2_Startup on."""

    def __init__(self, path: Path) -> None:
        """Read swtpm's log. DecodeError when it is not the log of one start with TPM2_Startup(CLEAR)."""
        whole = list(_exchanges(path.read_text("ascii", "replace")))
        starts = [
            place for place, each in enumerate(whole) if each.code == STARTUP and each.result == SUCCESS
        ]
        if not starts:
            raise _trace(f"a TPM that was started in {path}", "none")
        if whole[starts[-1]].command[10:12] != b"\0\0":
            raise _trace("TPM2_Startup(CLEAR)", "another start")
        self.exchanges = whole[starts[-1] :]

    def results(self, code: int) -> list[int]:
        """The answers to all commands of one kind, in order."""
        return [each.result for each in self.exchanges if each.code == code]

    def places(self, code: int) -> list[int]:
        """Where in the trace the commands of one kind are."""
        return [place for place, each in enumerate(self.exchanges) if each.code == code]

    @cached_property
    def extensions(self) -> list[Extension]:
        """All accepted extends, in order."""
        return [
            Extension(place, *_extension(each.command))
            for place, each in enumerate(self.exchanges)
            if each.code == PCR_EXTEND and each.result == SUCCESS
        ]

    def place_of_word(self, word: str) -> int:
        """Where in the trace a word was extended into register 15; once, or this fails."""
        digest = hashlib.sha256(word.encode("ascii")).digest()
        (place,) = [
            each.place for each in self.extensions if each.register == 15 and each.digests["sha256"] == digest
        ]
        return place

    def registers(self, bank: str) -> dict[int, bytes]:
        """Registers 0 to 15 of a bank, rebuilt from nothing but the extends."""
        for code in (PCR_EVENT, SEQUENCE_COMPLETE, PCR_RESET):
            for each in self.exchanges:
                touches = each.code == code and int.from_bytes(each.command[10:14], "big") != _RH_NULL
                if touches:
                    raise _trace("registers that extends alone change", f"a command {code:#x}")
        values = {number: bytes(hashlib.new(bank).digest_size) for number in range(16)}
        for extension in self.extensions:
            number, digest = extension.register, extension.digests.get(bank)
            if number in values and digest is not None:
                values[number] = hashlib.new(bank, values[number] + digest).digest()
        return values


def _exchanges(text: str) -> Iterator[Exchange]:
    """Yield the exchanges of the control and data channel's log."""
    command = b""
    kind, wanted, collected = "", 0, b""
    for line in text.splitlines():
        head = _HEAD.fullmatch(line)
        if head is not None:
            kind, wanted, collected = head[1], int(head[2]), b""
        elif wanted and _HEX.fullmatch(line):
            collected += bytes.fromhex(line)
        else:
            continue
        if wanted and len(collected) >= wanted:
            if len(collected) != wanted:
                raise _trace(f"a dump of {wanted} bytes", str(len(collected)))
            if kind == "Read":
                command = collected
            elif command:
                yield Exchange(command, collected)
                command = b""
            wanted = 0


def _extension(command: bytes) -> tuple[int, dict[str, bytes]]:
    """Register and digests of a TPM2_PCR_Extend (Part 3, 22.2)."""
    if int.from_bytes(command[:2], "big") != _SESSIONS:
        raise _trace("TPM2_PCR_Extend with a session", command[:2].hex())
    register = int.from_bytes(command[10:14], "big")
    at = 18 + int.from_bytes(command[14:18], "big")
    digests = {}
    count, at = int.from_bytes(command[at : at + 4], "big"), at + 4
    for _ in range(count):
        number = int.from_bytes(command[at : at + 2], "big")
        digest = command[at + 2 : at + 2 + _SIZES[number]]
        at += 2 + len(digest)
        if number in _HASHES:
            digests[_HASHES[number][0]] = digest
    if at != len(command):
        raise _trace(f"a TPM2_PCR_Extend of {at} bytes", str(len(command)))
    return register, digests


def _trace(expected: str, found: str) -> DecodeError:
    return DecodeError("TPM trace", expected=expected, found=found, hint="boot again: the trace is not whole")
