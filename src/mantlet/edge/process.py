# SPDX-License-Identifier: Apache-2.0
"""The one door to other programs: everything that runs a process comes through here.

A command is a list of words, never a shell's string. It runs with what it was given and fails with one error
that names the program, its exit code and its last words.
"""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mantlet_measure.errors import MantletError, UnavailableError

_LAST_WORDS = 15
_STOP_SECONDS = 5.0


class ProcessError(MantletError):
    """A program said no."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """What a program left: its standard output, and its exit code (negative: the signal that ended it)."""

    stdout: bytes
    returncode: int


def run(
    argv: Sequence[str],
    *,
    stdin: bytes | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
    log: Path | None = None,
) -> Completed:
    """Run a program to its end; env is added to ours, log takes what it prints instead of the result.

    Raises ProcessError on an exit code other than 0 if `check`, UnavailableError without such a program.
    """
    target = log.open("ab") if log is not None else None
    try:
        done = subprocess.run(
            list(argv),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            stdout=target or subprocess.PIPE,
            stderr=subprocess.STDOUT if target else subprocess.PIPE,
            cwd=cwd,
            env=_environment(env),
            check=False,
            # Descriptors are closed on exec unless they are marked as inheritable, as locks are.
            close_fds=False,
        )
    except FileNotFoundError:
        raise _missing(argv) from None
    finally:
        if target is not None:
            target.close()
    if check and done.returncode != 0:
        words = log.read_bytes() if log is not None else (done.stderr or done.stdout)
        raise ProcessError(
            f"{program(argv)} failed with exit code {done.returncode}:\n{_tail(words)}",
            hint=f"see the whole of it in {log}" if log else f"run it by hand: {' '.join(argv)}",
        )
    return Completed(stdout=done.stdout or b"", returncode=done.returncode)


def run_through(argv: Sequence[str], *, cwd: Path | None = None) -> int:
    """Run a program on our own terminal and return its exit code."""
    try:
        return subprocess.run(list(argv), cwd=cwd, env=_environment(None), check=False).returncode
    except FileNotFoundError:
        raise _missing(argv) from None


class Running:
    """A program that runs beside us until it is stopped."""

    def __init__(self, argv: Sequence[str], *, log: Path, cwd: Path | None = None) -> None:
        """Start the program; what it prints goes to the end of `log`."""
        self.program = program(argv)
        self._log = log
        with log.open("ab") as target:
            try:
                self._process = subprocess.Popen(
                    list(argv),
                    stdin=subprocess.DEVNULL,
                    stdout=target,
                    stderr=subprocess.STDOUT,
                    cwd=cwd,
                    env=_environment(None),
                    # Ctrl-C is ours to handle: the machine is stopped in order.
                    start_new_session=True,
                )
            except FileNotFoundError:
                raise _missing(argv) from None

    @property
    def pid(self) -> int:
        """The process' number, which is the program's own: the sandbox becomes what it runs."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._process.poll()

    def last_words(self) -> str:
        """The end of what it printed."""
        return _tail(self._log.read_bytes())

    def wait(self, seconds: float) -> int | None:
        """Wait for its end, so long at most; return the exit code, or None when it still runs."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def stop(self) -> None:
        """Ask it to end, and end it when it does not."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.returncode is None:
                self._process.send_signal(number)
                self.wait(_STOP_SECONDS)


def program(argv: Sequence[str]) -> str:
    """Name the program of a command: inside a sandbox, the one that the sandbox runs."""
    words = list(argv)
    return words[words.index("--") + 1] if "--" in words[:-1] else words[0]


def _environment(added: Mapping[str, str] | None) -> dict[str, str]:
    return {**os.environ, **(added or {})}


def _missing(argv: Sequence[str]) -> UnavailableError:
    return UnavailableError(
        f"expected the program {argv[0]}, found none of that name",
        hint="run `scripts/just tools`, which brings what the host lacks",
    )


def _tail(words: bytes) -> str:
    lines = words.decode("utf-8", "replace").strip().splitlines()
    return "\n".join(lines[-_LAST_WORDS:]) or "(it printed nothing)"
