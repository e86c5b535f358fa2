# SPDX-License-Identifier: Apache-2.0
"""The login fuse: burns register 15 when anything starts that has no business to (docs/adr/0012).

Owns the process: what it holds ready, the order of its steps, and the word that it leaves for `serve`. A
burnt fuse stays burnt, and the machine runs on: whoever asks for evidence decides. Without a watch there is
no machine: what ends this process ends the machine.
"""

import signal
import socket
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

from mantlet_agent import extend, files, fuse_list, stages
from mantlet_agent.fuse_list import Watched
from mantlet_agent.places import Places
from mantlet_agent.proc_events import Events, LostError
from mantlet_agent.stages import StageError, State
from mantlet_measure.errors import DecodeError
from mantlet_measure.pcr import Register
from mantlet_measure.words import FuseKind

_LIST_LIMIT = 1 << 16
_RECORD_LIMIT = 1 << 16
_TPM_SECONDS = 60.0
# A fraction of WatchdogSec= in the unit.
HEARTBEAT_SECONDS = 10.0


class Fuse:
    """What burns, and how."""

    def __init__(self, places: Places, device: int) -> None:
        """Take where the word is left, and an open TPM. Makes all commands ahead: none is made in a hurry."""
        self._word = places.fuse_word
        self._device = device
        self._commands = {
            kind: extend.command(Register.SYSTEM_IDENTITY, kind.word.encode("ascii")) for kind in FuseKind
        }

    def burn(self, kind: FuseKind) -> None:
        """Leave the word, then extend it: a word missing from the log would explain nothing. StageError."""
        files.write(self._word, kind.word.encode("ascii"), mode=0o644)
        extend.send(self._device, self._commands[kind])


def until_burnt(watched: Watched, events: Events, heart: "Heart") -> FuseKind:
    """Judge events until one may not be; return what it is called."""
    for earlier in events.earlier:
        if (kind := watched.judge(earlier)) is not None:
            return kind
    while True:
        try:
            event = events.next(seconds=HEARTBEAT_SECONDS)
        except (LostError, DecodeError):
            return FuseKind.LOST
        heart.beat()
        if event is not None and (kind := watched.judge(event)) is not None:
            return kind


class Heart:
    """What systemd hears of this process (sd_notify(3)). A context manager."""

    def __init__(self, path: Path) -> None:
        """Connect to systemd. OSError."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.connect(str(path))
        self._told = 0.0

    def __enter__(self) -> "Heart":
        """Return it itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Disconnect."""
        self._socket.close()

    def ready(self) -> None:
        """Say that the watch has begun: what waits for it may start."""
        self._socket.send(b"READY=1")

    def beat(self) -> None:
        """Say that it goes on, as often as it has to be said."""
        now = time.monotonic()
        if now - self._told >= HEARTBEAT_SECONDS / 2:
            self._socket.send(b"WATCHDOG=1")
            self._told = now


def is_serving(places: Places) -> bool:
    """Whether the agent has said that the machine serves. DecodeError."""
    try:
        record = stages.decode(files.read(places.stages, limit=_RECORD_LIMIT))
    except FileNotFoundError:
        return False
    return record.state is State.SERVING


def watch(places: Places) -> NoReturn:
    """Watch for the life of the machine. StageError, DecodeError, OSError: then there is no watch."""
    groups = fuse_list.decode(files.read(places.fuse_list, limit=_LIST_LIMIT))
    fuse = Fuse(places, extend.open_device(places.tpm, seconds=_TPM_SECONDS))
    heart = Heart(places.notify)
    watched = Watched(groups, proc=places.proc, serving=lambda: is_serving(places))
    with Events() as events:
        # First the events, then a look around: what started in between is seen twice, and not never.
        kind = watched.present()
        if kind is None:
            heart.ready()
            kind = until_burnt(watched, events, heart)
    fuse.burn(kind)
    heart.ready()
    while True:
        heart.beat()
        time.sleep(HEARTBEAT_SECONDS)


def _ended(number: int, frame: FrameType | None) -> None:
    """End with a failure: a signal is no reason to stop watching."""
    sys.exit(1)


def main() -> int:
    """Watch the machine this runs on; return 1 when that cannot be."""
    sys.tracebacklimit = 0
    signal.signal(signal.SIGTERM, _ended)
    try:
        watch(Places())
    except (StageError, DecodeError, LostError, OSError):
        return 1
