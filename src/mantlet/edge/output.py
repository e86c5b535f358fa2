# SPDX-License-Identifier: Apache-2.0
"""The terminal: the story on stderr, the result on stdout, so that a pipe carries results only.

Progress is a bar when stderr is a terminal, and a line for each tenth otherwise. What is worth saying is
decided by the caller; this module only knows how to say it.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_STARTED = time.monotonic()
# Work that takes less needs no progress.
_QUIET_SECONDS = 1.0


def step(text: str) -> None:
    """Tell one step of the story on stderr, after the seconds since the program started."""
    elapsed = time.monotonic() - _STARTED
    sys.stderr.write(f"{elapsed:7.1f} s ‣ {text}\n")
    sys.stderr.flush()


def detail(text: str, *, verbose: bool) -> None:
    """Tell a detail of the current step on stderr, only to those who asked for it with `-v`."""
    if verbose:
        sys.stderr.write(f"{'':10}  {text}\n")


def result(text: str) -> None:
    """Write a line of the result to stdout."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def document(value: object) -> None:
    """Write the result as one JSON document to stdout, indented by two."""
    result(json.dumps(value, indent=2, ensure_ascii=False))


def error(message: str, *, hint: str) -> None:
    """Say on stderr what was refused or failed, and the mend."""
    sys.stderr.write(f"error: {message}\nhint: {hint}\n")
    sys.stderr.flush()


class _Tenths:
    """Progress in lines: how much is done, how fast, and how long the rest will take."""

    def __init__(self, label: str, total: int) -> None:
        self._label, self._total = label, total
        self._done = self._told = 0
        self._started = time.monotonic()

    def advance(self, size: int) -> None:
        """Count bytes, and tell of a tenth that they complete."""
        self._done += size
        elapsed = time.monotonic() - self._started
        tenth = 10 * self._done // max(self._total, 1)
        if tenth == self._told or elapsed < _QUIET_SECONDS:
            return
        self._told = tenth
        rate = self._done / elapsed
        left = (self._total - self._done) / rate
        step(f"{self._label}: {10 * tenth} %, {rate / 1e6:.0f} MB/s, {left:.0f} s left")


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function that advances a bar of `total` bytes by so many bytes; the bar vanishes when done.

    Without a terminal on stderr there is a line for each tenth instead, once the work has taken a second.
    """
    if not sys.stderr.isatty():
        yield _Tenths(label, total).advance
        return
    # rich costs a tenth of a second to import, and most verbs draw nothing.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("          ‣ {task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda advance: bar.update(task, advance=advance)
