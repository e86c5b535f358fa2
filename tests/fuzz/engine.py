# SPDX-License-Identifier: Apache-2.0
"""Damages documents and looks at what their decoder makes of them, until the time is over.

A document that was refused at a place where none was before becomes a seed itself: the lines of the refusal's
traceback stand in for coverage. An input has `SECONDS_AN_INPUT`; one that takes longer, or needs more memory
than the process may have, counts as a crash.
"""

import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType, TracebackType

from mantlet.predict.uki import UnpredictableError
from mantlet_measure.errors import DecodeError
from tests.fuzz.mutation import damaged
from tests.fuzz.targets import Target

SECONDS_AN_INPUT = 5.0
_SEEDS = 400
REFUSALS = (DecodeError, UnpredictableError)
Place = tuple[tuple[str, int], ...]


class HangError(BaseException):
    """An input that took too long; no decoder may catch it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash:
    """An input for which a decoder raised something else than a refusal."""

    target: str
    data: bytes
    error: BaseException


@dataclass(slots=True, kw_only=True)
class Run:
    """The state of fuzzing one target."""

    target: Target
    rng: random.Random
    seeds: list[bytes] = field(default_factory=list)
    places: set[Place] = field(default_factory=set)
    inputs: int = 0
    accepted: int = 0

    def __post_init__(self) -> None:
        """Start from the sound documents, which must be taken."""
        for seed in self.target.seeds:
            self.target.decode(seed)
            self.seeds.append(seed)

    def step(self) -> Crash | None:
        """Try one input; return it if it is a crash."""
        data = damaged(self.rng, self.rng.choice(self.seeds), self.seeds)
        self.inputs += 1
        try:
            with _limited():
                self.target.decode(data)
        except REFUSALS as refusal:
            self._keep(data, _place(refusal.__traceback__))
        except (Exception, HangError) as error:  # noqa: BLE001 - whatever else comes is the finding
            return Crash(target=self.target.name, data=data, error=error)
        else:
            self.accepted += 1
        return None

    def _keep(self, data: bytes, place: Place) -> None:
        if place not in self.places:
            self.places.add(place)
            # A decoder has few places to refuse at; recursion in a document makes more of them.
            if len(self.seeds) < _SEEDS:
                self.seeds.append(data)


def fuzz(run: Run, *, seconds: float) -> Crash | None:
    """Try inputs for so long; return the first crash."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if (crash := run.step()) is not None:
            return crash
    return None


def _place(traceback: TracebackType | None) -> Place:
    frames = []
    while traceback is not None:
        frames.append((traceback.tb_frame.f_code.co_filename, traceback.tb_lineno))
        traceback = traceback.tb_next
    return tuple(frames)


@contextmanager
def _limited() -> Iterator[None]:
    def ring(_number: int, _frame: FrameType | None) -> None:
        raise HangError(f"it took longer than {SECONDS_AN_INPUT:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS_AN_INPUT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
