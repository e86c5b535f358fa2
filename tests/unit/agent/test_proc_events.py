# SPDX-License-Identifier: Apache-2.0
"""What the kernel tells of processes: its messages, and this machine's own kernel asked."""

import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mantlet_agent.proc_events import Events, Happening, LostError, ProcEvent, decode
from mantlet_measure.errors import DecodeError

# Received from Linux 6.18 when a child opened a session: nlmsghdr, cn_msg, proc_event.
SESSION = bytes.fromhex(
    "4c000000 0300 0000 fd020100 00000000"
    "01000000 01000000 fd020100 00000000 2800 0000"
    "80000000 01000000 71d98382821a0000 91550000 91550000 00000000000000000000000000000000"
)


def with_what(what: int) -> bytes:
    return SESSION[:36] + struct.pack("=I", what) + SESSION[40:]


def test_a_message_says_what_which_process_did() -> None:
    assert decode(SESSION) == ProcEvent(happening=Happening.SID, process=0x5591)


def test_the_process_is_told_and_not_its_thread() -> None:
    message = SESSION[:52] + struct.pack("=II", 9, 7) + SESSION[60:]
    assert decode(message) == ProcEvent(happening=Happening.SID, process=7)


def test_an_acknowledgement_is_no_event() -> None:
    assert decode(with_what(0)) is None


@pytest.mark.parametrize("what", [0x1, 0x200, 0x80000000, 0x6])
def test_an_event_that_was_not_asked_for_is_refused(what: int) -> None:
    with pytest.raises(DecodeError, match="a kind that was asked for"):
        decode(with_what(what))


@pytest.mark.parametrize("size", [0, 15, 35, 59, 75])
def test_a_message_that_is_cut_is_refused(size: int) -> None:
    with pytest.raises(DecodeError):
        decode(SESSION[:size])


@pytest.mark.parametrize("place", [0, 4, 16, 20, 32])
def test_a_message_of_somebody_else_is_refused(place: int) -> None:
    message = bytearray(SESSION)
    message[place] += 1
    with pytest.raises(DecodeError):
        decode(bytes(message))


@given(st.binary(max_size=128))
def test_any_bytes_are_an_event_or_refused(message: bytes) -> None:
    with suppress(DecodeError):
        decode(message)


@pytest.fixture
def events() -> Iterator[Events]:
    """This machine's own events, where its kernel tells them to us: not in a container's namespaces."""
    try:
        opened = Events()
    except (OSError, LostError) as error:
        pytest.skip(f"the kernel tells no events here: {error}")
    with opened:
        yield opened


def found(events: Events, wanted: ProcEvent) -> bool:
    """Look for an event among those of everybody on this machine."""
    while (event := events.next(seconds=5.0)) is not None:
        if event == wanted:
            return True
    return False


def test_a_program_that_starts_is_told(events: Events) -> None:
    process = subprocess.Popen(["/bin/true"])
    process.wait()
    assert found(events, ProcEvent(happening=Happening.EXEC, process=process.pid))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_a_process_that_becomes_another_user_is_told(events: Events) -> None:
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        os._exit(0)
    os.waitpid(child, 0)
    assert found(events, ProcEvent(happening=Happening.UID, process=child))


def test_events_that_nobody_has_taken_in_time_are_known_to_be_lost(events: Events) -> None:
    events._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    for _ in range(64):
        subprocess.run(["/bin/true"], check=True)
    with pytest.raises(LostError):
        found(events, ProcEvent(happening=Happening.EXEC, process=-1))
