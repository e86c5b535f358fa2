# SPDX-License-Identifier: Apache-2.0
"""The door to other programs: what comes back, and what a failure says."""

import sys
from pathlib import Path

import pytest

from mantlet.edge import process
from mantlet.edge.process import ProcessError, Running
from mantlet_measure.errors import UnavailableError


def test_a_program_gets_its_input_and_gives_its_output() -> None:
    assert process.run(["cat"], stdin=b"through").stdout == b"through"


def test_a_program_that_fails_is_named_with_its_exit_code_and_last_words() -> None:
    with pytest.raises(ProcessError, match=r"(?s)sh failed with exit code 7:.*no such luck") as refusal:
        process.run(["sh", "-c", "echo no such luck >&2; exit 7"])
    assert "by hand" in refusal.value.hint


def test_a_failure_in_a_sandbox_names_the_program_inside() -> None:
    assert (
        process.program(["python3", "sandbox.py", "--bind", "/a", "/a", "--", "mkfs.erofs", "x"])
        == "mkfs.erofs"
    )


def test_a_missing_program_could_not_be_asked() -> None:
    with pytest.raises(UnavailableError, match="mantlet-has-no-such-program"):
        process.run(["mantlet-has-no-such-program"])


def test_a_log_takes_what_the_program_prints(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(ProcessError, match="lost") as refusal:
        process.run(["sh", "-c", "echo lost; exit 1"], log=log)
    assert log.read_bytes() == b"lost\n"
    assert str(log) in refusal.value.hint


def test_a_running_program_that_ignores_the_request_to_end_is_ended(tmp_path: Path) -> None:
    stubborn = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(60)
"""
    running = Running([sys.executable, "-c", stubborn], log=tmp_path / "log")
    while "up" not in running.last_words():
        assert running.wait(0.05) is None
    running.stop()
    assert running.returncode == -9
