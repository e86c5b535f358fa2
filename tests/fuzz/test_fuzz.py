# SPDX-License-Identifier: Apache-2.0
"""A minute of fuzzing in each run of the tests, and that the engine finds what is there to be found."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mantlet_measure.errors import DecodeError
from tests.fuzz import engine
from tests.fuzz.engine import HangError, Run, fuzz
from tests.fuzz.targets import Target

ROOT = Path(__file__).parents[2]
SECONDS = os.environ.get("FUZZ_SECONDS", "60")


def test_no_decoder_crashes_hangs_or_takes_more_memory_than_it_may(tmp_path: Path) -> None:
    # The same random numbers in every run: `just fuzz` draws others each time.
    seed = ("--seed", "1", "--crashes", str(tmp_path))
    words = [sys.executable, "-m", "tests.fuzz", "--seconds", SECONDS, *seed]
    paths = os.pathsep.join(str(ROOT / part) for part in (".", "src", "agent/src"))
    done = subprocess.run(
        words, cwd=ROOT, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _run(decode: object) -> Run:
    assert callable(decode)
    return Run(target=Target(name="sample", decode=decode, seeds=(b"ABCD" * 8,)), rng=random.Random(1))


def test_an_error_behind_two_checks_is_found() -> None:
    def decode(data: bytes) -> None:
        if len(data) < 8:
            raise DecodeError("sample", expected="8 bytes", found=str(len(data)))
        if data[0] != ord("A"):
            if data[4] != ord("A"):
                raise KeyError(data[0])
            raise DecodeError("sample", expected="A", found="another")

    crash = fuzz(_run(decode), seconds=20)
    assert crash is not None
    assert isinstance(crash.error, KeyError)


def test_an_input_that_takes_too_long_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "SECONDS_AN_INPUT", 0.05)

    def decode(data: bytes) -> None:
        if data[:1] == b"A":
            return
        time.sleep(30)

    crash = fuzz(_run(decode), seconds=20)
    assert crash is not None
    assert isinstance(crash.error, HangError)


def test_seeds_that_a_decoder_refuses_are_not_started_from() -> None:
    def decode(data: bytes) -> None:
        raise DecodeError("sample", expected="nothing", found=str(len(data)))

    with pytest.raises(DecodeError):
        _run(decode)
