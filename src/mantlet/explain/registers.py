# SPDX-License-Identifier: Apache-2.0
"""Each register on its own: equal or not, and if not, its two lists of events laid beside each other.

Owns the comparison of two accounts, register by register. Why something differs is said by `words` and
`causes`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mantlet.explain.account import Account, Entry, RegisterAccount
from mantlet.explain.align import Change, align
from mantlet.explain.subject import Kind
from mantlet_measure.pcr import Bank, Register

# Kinds of which one boot measures several: one is an alteration of another only under the same name.
_NAMED = (Kind.VARIABLE, Kind.SECTION, Kind.SECTION_NAME, Kind.PHASE, Kind.ACTION, Kind.SMBIOS)


class Outcome(StrEnum):
    """What the comparison of one register came to."""

    EQUAL = "equal"
    DIFFERS = "differs"
    NOT_COMPARED = "not compared"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """An expected and an observed event that belong together; `number` counts observed positions from 1."""

    change: Change
    number: int
    expected: Entry | None
    observed: Entry | None

    @property
    def entry(self) -> Entry:
        """The expected event, which knows best what it is about, or the observed one that nobody expected."""
        found = self.expected or self.observed
        if found is None:
            raise AssertionError("a pair has at least one side")
        return found

    @property
    def kind(self) -> Kind:
        """What the event is about."""
        return self.entry.subject.kind


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterResult:
    """One register.

    pairs: empty where one of the sides has no events. told: the expected events. note: why it is not more.
    """

    register: int
    outcome: Outcome
    expected: Mapping[Bank, bytes]
    observed: Mapping[Bank, bytes]
    pairs: tuple[Pair, ...] = ()
    told: tuple[Entry, ...] = ()
    note: str = ""

    @property
    def title(self) -> str:
        """The register's name (UAPI.7)."""
        return title(self.register)

    @property
    def changes(self) -> tuple[Pair, ...]:
        """The pairs that are not the same on both sides."""
        return tuple(pair for pair in self.pairs if pair.change is not Change.SAME)


def title(register: int) -> str:
    """Return the name of a register in words, or its number."""
    known = register in tuple(Register)
    return Register(register).name.lower().replace("_", "-") if known else f"register {register}"


def compare(expected: Account, observed: Account) -> tuple[RegisterResult, ...]:
    """Compare all registers that the expected side has a value of, in the banks that both have."""
    return tuple(
        _compare(number, own, observed.registers.get(number))
        for number, own in sorted(expected.registers.items())
    )


def _compare(number: int, expected: RegisterAccount, observed: RegisterAccount | None) -> RegisterResult:
    found: Mapping[Bank, bytes] = {} if observed is None else observed.values
    shared = [bank for bank in expected.values if bank in found]
    if observed is None or not shared:
        return RegisterResult(
            register=number,
            outcome=Outcome.NOT_COMPARED,
            expected=expected.values,
            observed=found,
            note="nobody observed it" if observed is None else "no bank in common",
        )
    if _agents_own(number, expected, observed):
        return RegisterResult(
            register=number,
            outcome=Outcome.NOT_COMPARED,
            expected=expected.values,
            observed=found,
            note="it holds the agent's words, which only a deployment document settles",
        )
    differs = any(expected.values[bank] != found[bank] for bank in shared)
    known = expected.events is not None and observed.events is not None
    return RegisterResult(
        register=number,
        outcome=Outcome.DIFFERS if differs else Outcome.EQUAL,
        expected=expected.values,
        observed=found,
        pairs=pair_up(expected.events or (), observed.events or (), shared) if known else (),
        told=expected.events or (),
        note="" if known or not differs else "only the value is known, not the events behind it",
    )


def _agents_own(number: int, expected: RegisterAccount, observed: RegisterAccount) -> bool:
    """Say whether the agent has extended a register that the expected side leaves to it."""
    return (
        number == Register.SYSTEM_IDENTITY
        and not expected.events
        and not any(any(value) for value in expected.values.values())
        and any(any(value) for value in observed.values.values())
        and all(entry.subject.kind is Kind.AGENT_WORD for entry in observed.events or ())
    )


def pair_up(expected: Sequence[Entry], observed: Sequence[Entry], banks: Sequence[Bank]) -> tuple[Pair, ...]:
    """Lay two lists of events beside each other by their digests in all of `banks`."""

    def key(entry: Entry) -> tuple[bytes | None, ...]:
        return tuple(entry.digests.get(bank) for bank in banks)

    def alike(left: int, right: int) -> bool:
        ours, theirs = expected[left].subject, observed[right].subject
        if ours.kind is theirs.kind is not Kind.OTHER:
            return ours.name == theirs.name or ours.kind not in _NAMED
        # A log that does not say what it measured may still have measured that.
        return theirs.kind is Kind.OTHER and expected[left].type == observed[right].type

    slots = align([key(entry) for entry in expected], [key(entry) for entry in observed], alike=alike)
    pairs: list[Pair] = []
    position = 0
    for slot in slots:
        # A missing event has the number that it would have had.
        number = position + 1 if slot.observed is None else slot.observed + 1
        position = position if slot.observed is None else number
        pairs.append(
            Pair(
                change=slot.change,
                number=number,
                expected=None if slot.expected is None else expected[slot.expected],
                observed=None if slot.observed is None else observed[slot.observed],
            )
        )
    return tuple(pairs)
