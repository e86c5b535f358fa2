# SPDX-License-Identifier: Apache-2.0
"""What a measurement is: samples with a median, a bound, and whether it was kept. Measures nothing itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median


class Unit(StrEnum):
    """What a number counts. MB is a million bytes."""

    MEGABYTES = "MB"
    SECONDS = "s"
    MINUTES = "min"
    MILLISECONDS = "ms"
    RATIO = "×"

    def shown(self, value: float) -> str:
        """The number with its unit, as people read it."""
        digits = 2 if self is Unit.RATIO or value < 10 else 1
        return f"{value:.{digits}f} {self.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Values of one quantity, at least one, in the order in which they were taken."""

    label: str
    unit: Unit
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle value."""
        return median(self.values)

    @property
    def shown(self) -> str:
        """Median, and the range when there are several."""
        text = f"{self.label} {self.unit.shown(self.median)}"
        if len(self.values) == 1:
            return text
        return f"{text} ({self.unit.shown(min(self.values))} – {self.unit.shown(max(self.values))})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One goal: what it says, the bound, the value that was found, and what that comes from."""

    name: str
    goal: str
    unit: Unit
    bound: float
    value: float
    samples: tuple[Samples, ...]
    how: str

    @property
    def met(self) -> bool:
        """Whether the value is within the bound."""
        return self.value <= self.bound

    @property
    def verdict(self) -> str:
        """`met` or `missed`."""
        return "met" if self.met else "missed"


def single(samples: Samples, *, name: str, goal: str, bound: float, how: str) -> Outcome:
    """A goal that bounds the median of one quantity."""
    return Outcome(
        name=name,
        goal=goal,
        unit=samples.unit,
        bound=bound,
        value=samples.median,
        samples=(samples,),
        how=how,
    )


def ratio(ours: Samples, theirs: Samples, *, name: str, goal: str, bound: float, how: str) -> Outcome:
    """A goal that bounds how many times as long ours takes as theirs, by the medians."""
    return Outcome(
        name=name,
        goal=goal,
        unit=Unit.RATIO,
        bound=bound,
        value=ours.median / theirs.median,
        samples=(ours, theirs),
        how=how,
    )


def take_turns(rounds: int, *sides: tuple[str, Callable[[], float]]) -> tuple[Samples, ...]:
    """Measure each side once a round, in turns; a side gives a label, and a function that returns seconds."""
    values: Sequence[list[float]] = [[] for _ in sides]
    for _ in range(rounds):
        for taken, (_, measure) in zip(values, sides, strict=True):
            taken.append(measure())
    return tuple(
        Samples(label=label, unit=Unit.SECONDS, values=tuple(taken))
        for taken, (label, _) in zip(values, sides, strict=True)
    )


def outcome_to_value(outcome: Outcome) -> dict[str, object]:
    """Return an outcome as JSON."""
    return {
        "name": outcome.name,
        "goal": outcome.goal,
        "unit": outcome.unit.value,
        "value": outcome.value,
        "bound": outcome.bound,
        "met": outcome.met,
        "samples": [
            {"label": samples.label, "unit": samples.unit.value, "values": list(samples.values)}
            for samples in outcome.samples
        ],
        "how": outcome.how,
    }
