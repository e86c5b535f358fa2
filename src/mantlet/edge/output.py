# SPDX-License-Identifier: Apache-2.0
"""The terminal: the story on stderr, the result on stdout, so that a pipe carries results only.

Progress bars are drawn when stderr is a terminal and are nothing otherwise. What is worth saying is decided
by the caller; this module only knows how to say it.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_STARTED = time.monotonic()


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


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function that advances a bar of `total` bytes by so many bytes; the bar vanishes when done.

    Without a terminal on stderr nothing is drawn.
    """
    if not sys.stderr.isatty():
        yield lambda _advance: None
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
