# SPDX-License-Identifier: Apache-2.0
"""The numbered steps of a verification: their titles, outcomes and findings, and the refusal that carries
them.

Owns the bookkeeping alone. It checks nothing itself and prints nothing. A step is a block: it ends with
`passed`, or with the MantletError that refuses it; what could not be asked (UnavailableError) is no refusal
and passes through.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from types import TracebackType
from typing import NoReturn

from mantlet_measure.errors import MantletError, UnavailableError


class Step(IntEnum):
    """The steps of `verify`, by number."""

    EVIDENCE = 1
    ENDORSEMENT = 2
    ATTESTATION_KEY = 3
    BINDING = 4
    QUOTE = 5
    FRESHNESS = 6
    STORAGE_KEY = 7
    LOGS = 8
    DEPLOYMENT = 9
    REFERENCE_VALUES = 10
    STATE = 11

    @property
    def title(self) -> str:
        """What the step establishes."""
        return _TITLES[self]


_TITLES: Mapping[Step, str] = {
    Step.EVIDENCE: "evidence decodes and echoes the nonce",
    Step.ENDORSEMENT: "the endorsement key is certified by a trusted root",
    Step.ATTESTATION_KEY: "the attestation key can sign nothing but what the TPM made",
    Step.BINDING: "the attestation key lives in the endorsed TPM",
    Step.QUOTE: "the quote is signed and covers registers 0 to 15 of both banks",
    Step.FRESHNESS: "the quote binds nonce, TLS key and manifest",
    Step.STORAGE_KEY: "the storage root key is certified by the same TPM",
    Step.LOGS: "the logs replay to the quoted registers",
    Step.DEPLOYMENT: "the deployment document is signed, and measured",
    Step.REFERENCE_VALUES: "the registers equal the reference values",
    Step.STATE: "the machine is in the state asked for",
}


class Outcome(StrEnum):
    """How a step ended."""

    PASS = "pass"  # noqa: S105, no password
    REFUSE = "refuse"
    NOT_REACHED = "not-reached"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it must be."""

    subject: str
    expected: str
    observed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """One numbered step of a verification. `findings` is empty unless it refused."""

    number: int
    title: str
    outcome: Outcome
    expected: str
    observed: str
    findings: tuple[Finding, ...] = ()


class RefusedError(MantletError):
    """A step's refusal, with everything that the step found."""

    def __init__(self, findings: Sequence[Finding], *, hint: str) -> None:
        """Take at least one finding, and the mend."""
        super().__init__(
            "; ".join(
                f"{item.subject}: expected {item.expected}, observed {item.observed}" for item in findings
            ),
            hint=hint,
        )
        self.findings = tuple(findings)


class VerificationError(MantletError):
    """Evidence that was refused: the step that refused it, its findings, and all steps with their outcome."""

    def __init__(
        self, refused: StepResult, steps: tuple[StepResult, ...], *, headline: str, hint: str
    ) -> None:
        """Take the step that refused, and the whole list."""
        first, *others = refused.findings
        more = f" (and {len(others)} more)" if others else ""
        super().__init__(
            f"step {refused.number}, {refused.title}: {first.subject}: "
            f"expected {first.expected}, observed {first.observed}{more}",
            hint=hint,
        )
        self.step = refused.number
        self.findings = refused.findings
        self.steps = steps
        self.headline = headline


class Checks:
    """Collects the findings of one step, so that all are reported and not the first."""

    def __init__(self) -> None:
        """Start without findings."""
        self._findings: list[Finding] = []

    def equal(self, subject: str, *, expected: object, observed: object) -> None:
        """Find fault unless both are equal. Byte strings are shown in hexadecimal."""
        if expected != observed:
            self.fault(subject, expected=_shown(expected), observed=_shown(observed))

    def fault(self, subject: str, *, expected: str, observed: str) -> None:
        """Add a finding."""
        self._findings.append(Finding(subject=subject, expected=expected, observed=observed))

    def done(self, *, hint: str) -> None:
        """Refuse the step if anything was found."""
        if self._findings:
            self.refuse(hint=hint)

    def refuse(self, *, hint: str) -> NoReturn:
        """Refuse the step with what was found so far, which must be something."""
        raise RefusedError(self._findings, hint=hint)


class Ledger:
    """The numbered steps of one verification, in order, with the outcome of each."""

    def __init__(self, *, headline: str) -> None:
        """Start with no step taken; `headline` opens the verdict, whatever it is."""
        self._headline = headline
        self._results: list[StepResult] = []

    def step(self, step: Step) -> "OpenStep":
        """Open a step; a MantletError inside its block refuses it."""
        return OpenStep(self, step)

    def record(self, result: StepResult) -> None:
        """Add the result of a step."""
        self._results.append(result)

    def passed(self) -> tuple[StepResult, ...]:
        """Return the results when every step has passed."""
        if [result.number for result in self._results] != [int(step) for step in Step]:
            raise AssertionError("a step of the verification was left out")
        return tuple(self._results)

    def refused(self, result: StepResult, *, hint: str) -> VerificationError:
        """Return the refusal, with the steps that were not reached behind it."""
        behind = tuple(
            StepResult(
                number=step,
                title=step.title,
                outcome=Outcome.NOT_REACHED,
                expected="",
                observed="not reached",
            )
            for step in Step
            if step > result.number
        )
        return VerificationError(
            result, (*self._results, result, *behind), headline=self._headline, hint=hint
        )


class OpenStep:
    """The block of one step. It ends with `passed`, or with the error that refuses it."""

    def __init__(self, ledger: Ledger, step: Step) -> None:
        """Open `step` of `ledger`."""
        self._ledger = ledger
        self._step = step

    def __enter__(self) -> "OpenStep":
        """Enter the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Turn a MantletError of the block into the VerificationError of this step."""
        if not isinstance(error, MantletError) or isinstance(error, UnavailableError):
            return
        findings = (
            error.findings
            if isinstance(error, RefusedError)
            else (
                Finding(subject=self._step.name.lower(), expected=self._step.title, observed=error.message),
            )
        )
        result = StepResult(
            number=self._step,
            title=self._step.title,
            outcome=Outcome.REFUSE,
            expected=findings[0].expected,
            observed=findings[0].observed,
            findings=findings,
        )
        raise self._ledger.refused(result, hint=error.hint) from error

    def passed(self, *, expected: str, observed: str) -> None:
        """Record that the step passed, and on what."""
        self._ledger.record(
            StepResult(
                number=self._step,
                title=self._step.title,
                outcome=Outcome.PASS,
                expected=expected,
                observed=observed,
            )
        )


def step_to_value(step: StepResult) -> dict[str, object]:
    """Return a step as JSON."""
    return {
        "number": int(step.number),
        "title": step.title,
        "outcome": step.outcome.value,
        "expected": step.expected,
        "observed": step.observed,
        "findings": [
            {"subject": item.subject, "expected": item.expected, "observed": item.observed}
            for item in step.findings
        ],
    }


def refusal_to_value(error: VerificationError) -> dict[str, object]:
    """Return a refusal as JSON."""
    return {
        "verdict": "refused",
        "headline": error.headline,
        "error": {"message": error.message, "hint": error.hint, "exit": 1},
        "steps": [step_to_value(step) for step in error.steps],
    }


def _shown(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
