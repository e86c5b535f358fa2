# SPDX-License-Identifier: Apache-2.0
"""What goes to which stream, with and without a terminal."""

import os
import pty
import re
import subprocess
import sys

import pytest

from mantlet.edge import output

SCRIPT = """
import time
from mantlet.edge import output
with output.progress('Packing', 100) as advance:
    for _ in range(5):
        advance(20)
        time.sleep(0.1)
output.result('done')
"""


def test_a_result_goes_to_stdout_and_the_story_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    output.step("Predicting PCR 11…")
    output.detail("shown", verbose=True)
    output.detail("not shown", verbose=False)
    output.result("accepted")
    out, err = capsys.readouterr()
    assert out == "accepted\n"
    story, detail = err.splitlines()
    assert re.fullmatch(r" *\d+\.\d s ‣ Predicting PCR 11…", story)
    assert detail.strip() == "shown"


def test_progress_draws_nothing_into_a_pipe() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("done\n", "")


def test_progress_draws_a_bar_on_a_terminal_and_only_there() -> None:
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "80"}
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=theirs, env=environment
    ) as running:
        os.close(theirs)
        drawn = bytearray()
        while True:
            try:
                drawn += os.read(ours, 4096)
            except OSError:
                # Linux answers EIO when the last writer of a terminal leaves.
                break
        assert running.stdout is not None
        assert running.stdout.read() == b"done\n"
    os.close(ours)
    assert running.returncode == 0
    assert b"Packing" in drawn
