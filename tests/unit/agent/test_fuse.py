# SPDX-License-Identifier: Apache-2.0
"""The fuse as a process: what it leaves, what it tells systemd, and what `serve` makes of its word.

The TPM is a file here, which keeps what it was sent; tests/tpm has a real one.
"""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from mantlet_agent import extend, fuse, serve, stages
from mantlet_agent.fuse import Fuse, Heart, until_burnt
from mantlet_agent.fuse_list import Watched
from mantlet_agent.places import Places
from mantlet_agent.proc_events import Events, Happening, LostError, ProcEvent
from mantlet_agent.stages import Record, StageError, State
from mantlet_measure.cel import agent_record
from mantlet_measure.errors import DecodeError
from mantlet_measure.pcr import Register
from mantlet_measure.words import FuseKind

FOREIGN = ProcEvent(happening=Happening.EXEC, process=1)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    made = Places(root=tmp_path)
    for folder in (made.fuse_word.parent, made.public, made.notify.parent, made.proc):
        folder.mkdir(parents=True)
    return made


@pytest.fixture
def systemd(places: Places) -> Iterator[socket.socket]:
    """Who hears what the service says of itself."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(places.notify))
        listener.settimeout(10.0)
        yield listener


@pytest.fixture
def heart(places: Places, systemd: socket.socket) -> Iterator[Heart]:
    with Heart(places.notify) as connected:
        yield connected


class Told(Events):
    """Events that were told, without a kernel that tells them."""

    def __init__(self, *told: ProcEvent | Exception | None, earlier: tuple[ProcEvent, ...] = ()) -> None:
        self.earlier = earlier
        self._told = list(told)

    def next(self, *, seconds: float) -> ProcEvent | None:
        first = self._told.pop(0)
        if isinstance(first, Exception):
            raise first
        return first


def watched(places: Places) -> Watched:
    return Watched({}, proc=places.proc, serving=lambda: False)


def test_the_first_event_that_may_not_be_ends_the_wait(
    places: Places, systemd: socket.socket, heart: Heart
) -> None:
    assert until_burnt(watched(places), Told(None, FOREIGN), heart) is FuseKind.PROGRAM
    assert systemd.recv(64) == b"WATCHDOG=1"


def test_what_happened_while_the_watch_began_is_judged_too(places: Places, heart: Heart) -> None:
    told = Told(earlier=(FOREIGN,))
    assert until_burnt(watched(places), told, heart) is FuseKind.PROGRAM


@pytest.mark.parametrize("error", [LostError(), DecodeError("event", expected="x", found="y")])
def test_events_that_are_lost_or_make_no_sense_burn(places: Places, heart: Heart, error: Exception) -> None:
    assert until_burnt(watched(places), Told(error), heart) is FuseKind.LOST


def test_systemd_is_told_when_the_watch_has_begun(heart: Heart, systemd: socket.socket) -> None:
    heart.ready()
    assert systemd.recv(64) == b"READY=1"


def test_a_tpm_that_does_not_extend_ends_the_watch(places: Places, tmp_path: Path) -> None:
    (tmp_path / "chip").write_bytes(b"")
    device = os.open(tmp_path / "chip", os.O_RDWR)
    with pytest.raises(StageError):
        Fuse(places, device).burn(FuseKind.TRACE)
    os.close(device)
    # The word was left first: evidence explains the register, whenever it is asked for.
    assert places.fuse_word.read_text() == "mantlet:fuse:trace"
    sent = extend.command(Register.SYSTEM_IDENTITY, b"mantlet:fuse:trace")
    assert (tmp_path / "chip").read_bytes() == sent


def test_without_a_list_there_is_no_watch(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuse, "Places", lambda: places)
    monkeypatch.setattr("signal.signal", lambda number, handler: None)
    assert fuse.main() == 1


@pytest.mark.parametrize(("state", "serving"), [(State.STARTING, False), (State.SERVING, True)])
def test_the_agent_says_whether_the_machine_serves(places: Places, state: State, *, serving: bool) -> None:
    assert not fuse.is_serving(places)
    places.stages.write_bytes(stages.encode(Record(state=state, verdicts=())))
    assert fuse.is_serving(places) is serving


@pytest.mark.parametrize("kind", FuseKind)
def test_evidence_has_the_word_of_a_burnt_fuse_behind_all_others(places: Places, kind: FuseKind) -> None:
    log = (agent_record(0, "cap", "mantlet:cap"),)
    assert serve.with_fuse(places, log) == log
    places.fuse_word.write_text(kind.word)
    assert serve.with_fuse(places, log) == (*log, agent_record(1, "fuse", kind.word))


def test_a_word_that_is_not_the_fuses_is_not_served(places: Places) -> None:
    places.fuse_word.write_text("mantlet:cap")
    with pytest.raises(DecodeError, match="a word of the vocabulary"):
        serve.with_fuse(places, ())


def test_every_kind_has_a_word_and_a_meaning_of_its_own() -> None:
    assert len({kind.word for kind in FuseKind}) == len({kind.meaning for kind in FuseKind}) == len(FuseKind)
