# SPDX-License-Identifier: Apache-2.0
"""A value whose history nobody wrote down: which known change of the expected boot makes it.

Folds candidates until one equals the value in every bank that both sides have. A hit is proof that these
events make the value, and as good as proof that they were the ones. No hit is said as what it is.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mantlet.explain.account import Account
from mantlet.explain.candidates import Candidate, Insertion, Step, candidates, entry_steps
from mantlet.explain.finding import Cause, Finding
from mantlet.explain.registers import RegisterResult, title
from mantlet_measure.pcr import Bank, Register, replay, zero

_LIMIT = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What else may explain a value: other accounts (releases, profiles), and events that may occur."""

    accounts: tuple[Account, ...] = ()
    insertions: tuple[Insertion, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fixed:
    """A value that is known as a whole."""

    cause: Cause
    words: str
    values: Mapping[Bank, bytes]


def search(result: RegisterResult, expected: Account, known: Known) -> Finding:
    """Return what explains the observed value of a register that differs, or that nothing tried does."""
    banks = [bank for bank in result.expected if bank in result.observed]
    value = {bank: result.observed[bank] for bank in banks}
    hit, tried = _first(_all(result.register, value, expected, known), value)
    if hit is None:
        return Finding(
            cause=Cause.VALUE,
            registers=(result.register,),
            headline=f"the value differs, and none of {tried} known changes explains it",
            details=("an event log of the machine would: pass it instead of the values",),
        )
    return Finding(cause=hit.cause, registers=(result.register,), headline=hit.words, details=())


def _all(
    register: int, value: Mapping[Bank, bytes], expected: Account, known: Known
) -> Iterator[Candidate | _Fixed]:
    yield from _fixed(register, value, expected)
    for account in known.accounts:
        if (held := account.registers.get(register)) is not None:
            words = f"the value is that of {account.name}"
            yield _Fixed(cause=Cause.VALUE, words=words, values=held.values)
    events = expected.registers[register].events
    unused = _Fixed(
        cause=Cause.VALUE,
        words="the register is zero: nothing has extended it, or its bank is not active",
        values={bank: zero(bank) for bank in value},
    )
    # Of a register with one event, that the event is missing says more.
    one = events is not None and len(events) == 1
    yield from () if one else (unused,)
    yield from () if events is None else candidates(register, events, known.insertions)
    yield unused
    for account in known.accounts:
        held = account.registers.get(register)
        told = () if held is None or held.events is None else held.events
        words = f"the value is that of {account.name}, before all of it was measured"
        for length in range(len(told) - 1, 0, -1):
            yield Candidate(cause=Cause.VALUE, words=words, steps=tuple(entry_steps(told[:length])))


def _fixed(register: int, value: Mapping[Bank, bytes], expected: Account) -> Iterator[_Fixed]:
    yield _Fixed(
        cause=Cause.VALUE,
        words="the register is all ones: only a dynamic launch resets it, or the TPM was not started",
        values={bank: b"\xff" * bank.size for bank in value},
    )
    for number, other in expected.registers.items():
        if number != register and any(any(held) for held in other.values.values()):
            words = f"the value is the one expected of register {number} ({title(number)}): they are swapped"
            yield _Fixed(cause=Cause.VALUE, words=words, values=other.values)
    own = expected.registers[register]
    if register == Register.PLATFORM_CODE and own.events:
        for locality in (3, 4):
            yield _Fixed(
                cause=Cause.FIRMWARE,
                words=f"the TPM was started at locality {locality}",
                values={
                    bank: replay(
                        bank,
                        (entry.digests[bank] for entry in own.events),
                        start=bytes(bank.size - 1) + bytes([locality]),
                    )
                    for bank in value
                },
            )


def _first(
    found: Iterable[Candidate | _Fixed], value: Mapping[Bank, bytes]
) -> tuple[Candidate | _Fixed | None, int]:
    """Return the first that makes `value` in all banks, and how many were tried."""
    tried = 0
    digests: dict[tuple[Bank, bytes], bytes] = {}
    for candidate in found:
        tried += 1
        if all(_value(candidate, bank, digests) == held for bank, held in value.items()):
            return candidate, tried
        if tried == _LIMIT:
            break
    return None, tried


def _value(
    candidate: Candidate | _Fixed, bank: Bank, digests: dict[tuple[Bank, bytes], bytes]
) -> bytes | None:
    if isinstance(candidate, _Fixed):
        return candidate.values.get(bank)
    steps = [_digest(step, bank, digests) for step in candidate.steps]
    return None if None in steps else replay(bank, (step for step in steps if step is not None))


def _digest(step: Step, bank: Bank, digests: dict[tuple[Bank, bytes], bytes]) -> bytes | None:
    if not isinstance(step, bytes):
        return step.get(bank)
    if (bank, step) not in digests:
        digests[bank, step] = bank.digest(step)
    return digests[bank, step]


def merged(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Join findings that are one: of the same words, or where one follows from another."""
    by_words: dict[tuple[Cause, str, tuple[str, ...]], list[int]] = {}
    for finding in findings:
        by_words.setdefault((finding.cause, finding.headline, finding.details), []).extend(finding.registers)
    joined = tuple(
        Finding(cause=cause, registers=tuple(registers), headline=headline, details=details)
        for (cause, headline, details), registers in by_words.items()
    )
    for cause, absorbed in _FOLLOWS:
        joined = _absorbed(joined, cause, absorbed)
    return joined


# What a change of the UKI's sections, or of the command line from outside, moves besides its own register. A
# value that nothing explains may have reasons of its own as well; that is said with it.
_FOLLOWS: tuple[tuple[Cause, Mapping[int, tuple[Cause, ...]]], ...] = (
    (
        Cause.SECTIONS,
        {
            int(Register.BOOT_LOADER_CODE): (Cause.VALUE,),
            int(Register.KERNEL_INITRD): (Cause.VALUE, Cause.KERNEL_COMMAND_LINE),
        },
    ),
    (Cause.COMMAND_LINE, {int(Register.KERNEL_INITRD): (Cause.KERNEL_COMMAND_LINE,)}),
)


def _absorbed(
    findings: tuple[Finding, ...], cause: Cause, absorbed: Mapping[int, tuple[Cause, ...]]
) -> tuple[Finding, ...]:
    first = next((finding for finding in findings if finding.cause is cause), None)
    if first is None:
        return findings
    details = list(first.details)
    registers: list[int] = []
    kept: list[Finding] = []
    for finding in findings:
        gone = [item for item in finding.registers if finding.cause in absorbed.get(item, ())]
        registers += gone
        for register in gone:
            proven = finding.cause is not Cause.VALUE
            details.append(
                f"PCR {register} follows: {finding.headline}"
                if proven
                else f"PCR {register} differs too, as it must; only the other UKI would tell if that is all"
            )
        left = tuple(item for item in finding.registers if item not in gone)
        if left and finding is not first:
            kept.append(replace(finding, registers=left))
    whole = replace(first, registers=(*first.registers, *sorted(registers)), details=tuple(details))
    return (whole, *kept)
