# SPDX-License-Identifier: Apache-2.0
"""What leaves a boot: a line a stage on the first serial port, and a file (docs/formats.md, *Agent lines*).

Owns the port and the file. The port is only ever written: its settings are cleared so that nothing typed
comes back.
"""

import os
import termios
from contextlib import suppress
from types import TracebackType
from typing import Self

from mantlet_agent import files, stages
from mantlet_agent.places import Places
from mantlet_agent.stages import Code, Stage, State


class Recorder:
    """The record of one boot. As a context it holds the serial port open, so that its settings stay."""

    def __init__(self, places: Places) -> None:
        """Open the port if there is one; a machine without it boots all the same."""
        self._places = places
        self._verdicts: dict[Stage, Code] = {}
        self._port: int | None = None
        with suppress(OSError):
            self._port = os.open(places.serial, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
            _write_only(self._port)

    def __enter__(self) -> Self:
        """Return the recorder itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the port, which waits until the last line is out."""
        if self._port is not None:
            os.close(self._port)
            self._port = None

    def conclude(self, stage: Stage, code: Code, *, state: State = State.STARTING) -> None:
        """Record how `stage` ended, in the file and on the port."""
        self.note(stage, code, state=state)
        if self._port is not None:
            with suppress(OSError):
                os.write(self._port, f"mantlet {stage.value} {code.value}\r\n".encode("ascii"))

    def note(self, stage: Stage, code: Code, *, state: State) -> None:
        """Record in the file alone."""
        self._verdicts[stage] = code
        record = stages.Record(state=state, verdicts=tuple(self._verdicts.items()))
        files.write(self._places.stages, stages.encode(record), mode=0o644)


def _write_only(port: int) -> None:
    """Clear echo, signals, translation and the receiver of a serial port."""
    try:
        attributes = termios.tcgetattr(port)
    except termios.error:
        return
    attributes[0] = attributes[1] = attributes[3] = 0
    attributes[2] = (attributes[2] & ~termios.CREAD) | termios.CLOCAL
    termios.tcsetattr(port, termios.TCSANOW, attributes)
