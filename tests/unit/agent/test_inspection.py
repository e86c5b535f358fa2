# SPDX-License-Identifier: Apache-2.0
"""The kernel is closed before a key comes: waited for, and refused when it stays open."""

import time
from pathlib import Path

import pytest

from mantlet_agent.inspection import require_closed_kernel
from mantlet_agent.places import Places
from mantlet_agent.stages import Code, StageError


@pytest.fixture
def places(tmp_path: Path) -> Places:
    made = Places(root=tmp_path)
    made.modules_disabled.parent.mkdir(parents=True)
    return made


def test_a_closed_kernel_is_taken_at_once(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    places.modules_disabled.write_bytes(b"1\n")
    monkeypatch.setattr(time, "sleep", pytest.fail)
    require_closed_kernel(places)


def test_one_that_is_not_closed_yet_is_waited_for(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    places.modules_disabled.write_bytes(b"0\n")
    asked: list[float] = []

    def close(seconds: float) -> None:
        asked.append(seconds)
        places.modules_disabled.write_bytes(b"1\n")

    monkeypatch.setattr(time, "sleep", close)
    require_closed_kernel(places)
    assert len(asked) == 1


@pytest.mark.parametrize("content", [b"0\n", b"", b"10\n"])
def test_one_that_stays_open_gets_no_key(places: Places, content: bytes) -> None:
    places.modules_disabled.write_bytes(content)
    with pytest.raises(StageError) as refused:
        require_closed_kernel(places, seconds=0.0)
    assert refused.value.code is Code.KERNEL_OPEN


def test_one_that_does_not_say_gets_no_key(places: Places) -> None:
    with pytest.raises(StageError) as refused:
        require_closed_kernel(places, seconds=0.0)
    assert refused.value.code is Code.KERNEL_OPEN
    assert str(places.modules_disabled) in refused.value.message
