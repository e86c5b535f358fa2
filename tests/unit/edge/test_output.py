# SPDX-License-Identifier: Apache-2.0
"""Progress where there is no terminal: a line for each tenth, with rate and time left."""

import itertools
import time

import pytest

from mantlet.edge import output


def lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, seconds: float
) -> list[str]:
    """Return what is told of 200 MB in 40 steps that take so many seconds each."""
    clock = itertools.count()
    monkeypatch.setattr(time, "monotonic", lambda: next(clock) * seconds / 2)
    with output.progress("Hashing", 200_000_000) as advance:
        for _ in range(40):
            advance(5_000_000)
    return [line.split("‣ ")[1] for line in capsys.readouterr().err.splitlines()]


def test_long_work_is_told_by_tenths_with_rate_and_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = lines(monkeypatch, capsys, seconds=2)
    assert [line.split()[1] for line in told] == [str(10 * tenth) for tenth in range(1, 11)]
    assert all(line.startswith("Hashing: ") and " MB/s, " in line for line in told)
    assert told[-1].endswith(" 0 s left")


def test_work_of_less_than_a_second_tells_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lines(monkeypatch, capsys, seconds=0.01) == []
