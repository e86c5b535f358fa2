# SPDX-License-Identifier: Apache-2.0
"""What a taken runtime tries, and how its answers are judged: the types, and the run through all attempts.

An attempt has succeeded when the runtime gets what it must not have. Every other answer is a refusal, and its
error is kept. Instruments are calls that every process may make: when one fails, nothing that was refused
counts. The attempts themselves are in the modules `escape_*`, one a family.
"""

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mantlet.edge.attack.escape_process import Captive


class Family(StrEnum):
    """The attack that an attempt belongs to; the names are those of policies/operator-access.yaml."""

    INSTRUMENT = "instrument"
    ESCAPE = "runtime-escape"
    SOCKETS = "runtime-sockets"
    NETWORK = "runtime-network"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of an attempt: whether it got what it wanted, and what was found, in a few words."""

    succeeded: bool
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One thing that a taken runtime tries. rules: ids of policies/operator-access.yaml that it tests."""

    id: str
    family: Family
    rules: tuple[str, ...]
    perform: Callable[[Captive], Outcome]


def refused(value: int) -> Outcome:
    """Return the refusal by a call that came back with an error."""
    return Outcome(succeeded=False, found=error_name(value))


def succeeded(found: str) -> Outcome:
    """Return the success."""
    return Outcome(succeeded=True, found=found)


def error_name(value: int) -> str:
    """Name the error of a negative result, as errno(3) has it."""
    return errno.errorcode.get(-value, str(value))


def run(captive: Captive, attempts: Sequence[Attempt]) -> dict[str, Outcome]:
    """Make each attempt, in order; return outcomes by id. UnavailableError when the process is gone."""
    outcomes: dict[str, Outcome] = {}
    for attempt in attempts:
        if attempt.id in outcomes:
            raise ValueError(f"two attempts are called {attempt.id}")
        outcomes[attempt.id] = attempt.perform(captive)
    return outcomes


def breaches(attempts: Sequence[Attempt], outcomes: dict[str, Outcome]) -> tuple[Attempt, ...]:
    """Return the attempts that succeeded, but for the instruments."""
    return tuple(
        attempt
        for attempt in attempts
        if attempt.family is not Family.INSTRUMENT and outcomes[attempt.id].succeeded
    )


def failed_instruments(attempts: Sequence[Attempt], outcomes: dict[str, Outcome]) -> tuple[Attempt, ...]:
    """Return the instruments that failed: what was refused in such a run says nothing."""
    return tuple(
        attempt
        for attempt in attempts
        if attempt.family is Family.INSTRUMENT and not outcomes[attempt.id].succeeded
    )
