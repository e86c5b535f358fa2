# SPDX-License-Identifier: Apache-2.0
"""Waits end when something shows, remember how long it took, and give the sealed machine twice of it."""

import time

import pytest

from mantlet.edge.attack import pace
from mantlet.edge.attack.pace import Pace


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_wait_ends_when_something_shows(clock: Clock) -> None:
    found = pace.of_a_control()
    found.wait(lambda: clock.now >= 8.0)
    assert 8.0 <= clock.now < 9.0
    assert found.took == {"": clock.now}


def test_a_wait_for_nothing_ends_at_the_limit_and_is_not_remembered(clock: Clock) -> None:
    found = Pace(limit=5.0)
    found.wait(lambda: False)
    assert 5.0 <= clock.now < 6.0
    assert found.took == {}


def test_a_wait_lasts_at_least_what_the_effect_itself_takes(clock: Clock) -> None:
    Pace(limit=5.0).wait(lambda: False, least=10.0)
    assert 10.0 <= clock.now < 11.0


def test_the_sealed_machine_is_watched_twice_as_long_as_the_same_effect_took(clock: Clock) -> None:
    control = pace.of_a_control()
    for name, start, end in (("keys", 0.0, 1.0), ("port", 10.0, 17.0), ("port", 20.0, 22.0)):
        clock.now, control.trying = start, name
        control.wait(lambda end=end: clock.now >= end)
    sealed = pace.after(control)
    assert sealed.limits == {"keys": 3.0, "port": pytest.approx(14.0, abs=0.5)}
    for name, seconds in (("keys", 3.0), ("port", 14.0), ("what showed nothing", 3.0)):
        clock.now, sealed.trying = 0.0, name
        sealed.wait(lambda: False)
        assert clock.now == pytest.approx(seconds, abs=0.5)
