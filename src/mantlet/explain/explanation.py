# SPDX-License-Identifier: Apache-2.0
"""The explanation as a whole: registers, findings, verdict, and their JSON.

Owns the composition. Where both sides tell their events, they are aligned; where one has values only, known
changes are searched. It asks nobody and decides nothing but `equal`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mantlet.explain import causes
from mantlet.explain.account import Account, Entry, texts, with_known
from mantlet.explain.align import Change
from mantlet.explain.finding import Finding
from mantlet.explain.registers import Outcome, Pair, RegisterResult, compare
from mantlet.explain.search import Known, merged, search
from mantlet_measure.errors import MantletError
from mantlet_measure.pcr import Bank


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What a comparison came to. `findings` is empty if and only if all compared registers are equal."""

    expected: str
    observed: str
    banks: tuple[Bank, ...]
    results: tuple[RegisterResult, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether every register that could be compared is equal; at least one was."""
        return not self.findings

    def of(self, outcome: Outcome) -> tuple[RegisterResult, ...]:
        """Return the registers with this outcome."""
        return tuple(result for result in self.results if result.outcome is outcome)


def explain(expected: Account, observed: Account, known: Known | None = None) -> Explanation:
    """Compare two accounts and say why they differ. MantletError when they have nothing in common."""
    banks = tuple(bank for bank in expected.banks if bank in observed.banks)
    others = () if known is None else known.accounts
    # What an event measured may be known from elsewhere: it is attached by its digest alone.
    observed = with_known(observed, texts((expected, *others)))
    results = compare(expected, observed)
    if all(result.outcome is Outcome.NOT_COMPARED for result in results):
        raise MantletError(
            f"expected values of {_banks(expected)} in {observed.name}, found those of {_banks(observed)}",
            hint="read the same banks and registers of the machine as the reference values have",
        )
    differing = [result for result in results if result.outcome is Outcome.DIFFERS]
    told = [result for result in differing if not result.note]
    found = causes.gather(results)
    searched = [search(result, expected, known or Known()) for result in differing if result.note]
    silent = [result for result in told if not any(result.register in finding.registers for finding in found)]
    searched += [search(result, expected, known or Known()) for result in silent]
    return Explanation(
        expected=expected.name,
        observed=observed.name,
        banks=banks,
        results=results,
        findings=(*found, *merged(searched)),
        # Two manifests say the same of what neither predicts.
        notes=tuple(
            dict.fromkeys(
                (
                    *expected.notes,
                    *observed.notes,
                    *_recorded(expected, differing),
                    *_recognised(others, told),
                )
            )
        ),
    )


def _recognised(others: Sequence[Account], told: Sequence[RegisterResult]) -> Iterator[str]:
    """Say of which known account the values are that differ and have events to explain them."""
    for account in others:
        numbers = [str(result.register) for result in told if _is_of(account, result)]
        if numbers:
            yield f"{', '.join(numbers)}: the observed values are those of {account.name}"


def _is_of(account: Account, result: RegisterResult) -> bool:
    own = account.registers.get(result.register)
    shared = [] if own is None else [bank for bank in own.values if bank in result.observed]
    return (
        own is not None and bool(shared) and all(own.values[bank] == result.observed[bank] for bank in shared)
    )


def _recorded(expected: Account, differing: Sequence[RegisterResult]) -> Iterator[str]:
    """Say which of the registers that differ were recorded: they may differ without anybody's doing."""
    numbers = [str(result.register) for result in differing if result.register in expected.recorded]
    if numbers:
        yield (
            f"{', '.join(numbers)}: recorded from a boot, not computed; another build of the firmware, or a "
            "machine of another shape, measures other things there"
        )


def _banks(account: Account) -> str:
    return ", ".join(account.banks) or "no bank"


def to_value(explanation: Explanation) -> Mapping[str, object]:
    """Return the explanation as JSON."""
    return {
        "equal": explanation.equal,
        "expected": explanation.expected,
        "observed": explanation.observed,
        "banks": [bank.value for bank in explanation.banks],
        "findings": [
            {
                "cause": finding.cause.value,
                "registers": list(finding.registers),
                "words": finding.words,
                "details": list(finding.details),
            }
            for finding in explanation.findings
        ],
        "registers": {str(result.register): _result_value(result) for result in explanation.results},
        "notes": list(explanation.notes),
    }


def _result_value(result: RegisterResult) -> Mapping[str, object]:
    return {
        "title": result.title,
        "outcome": result.outcome.value,
        "note": result.note,
        "expected": {bank.value: value.hex() for bank, value in result.expected.items()},
        "observed": {bank.value: value.hex() for bank, value in result.observed.items()},
        "changes": [_pair_value(pair) for pair in result.changes if pair.change is not Change.SAME],
    }


def _pair_value(pair: Pair) -> Mapping[str, object]:
    return {
        "change": pair.change.value,
        "number": pair.number,
        "expected": _entry_value(pair.expected),
        "observed": _entry_value(pair.observed),
    }


def _entry_value(entry: Entry | None) -> Mapping[str, object] | None:
    if entry is None:
        return None
    return {
        "subject": entry.subject.words,
        "type": entry.type,
        "text": entry.text,
        "proven": entry.data is not None,
        "digests": {bank.value: digest.hex() for bank, digest in entry.digests.items()},
    }
