# SPDX-License-Identifier: Apache-2.0
"""The neighbour on the wire: what QEMU mirrors is taken in at once, whoever looks at it and when."""

import socket
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mantlet.edge.attack.wire import Wire, connected
from mantlet.edge.machine import BootError

# More than a socket holds.
MANY = 4000


@pytest.fixture
def ends() -> Iterator[tuple[Wire, socket.socket, socket.socket]]:
    """The wire, and QEMU's ends of it: that which it reads from, that which it mirrors to."""
    # Unix sockets have short names only.
    with tempfile.TemporaryDirectory(prefix="mantlet-") as name:
        listeners = []
        for end in ("in", "out"):
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(f"{name}/{end}")
            listener.listen()
            listeners.append(listener)
        with connected(Path(name)) as wire:
            inward, outward = (listener.accept()[0] for listener in listeners)
            outward.settimeout(30.0)
            with inward, outward:
                yield wire, inward, outward
        for listener in listeners:
            listener.close()


def framed(frame: bytes) -> bytes:
    return struct.pack(">I", len(frame)) + frame


def test_the_machine_never_waits_for_somebody_to_look(
    ends: tuple[Wire, socket.socket, socket.socket],
) -> None:
    wire, _, outward = ends
    sent = [number.to_bytes(2, "big") * 500 for number in range(MANY)]
    for frame in sent:
        outward.sendall(framed(frame))
    assert list(wire.frames(1.0, at_most=60.0)) == sent


def test_a_frame_is_sent_with_its_length(ends: tuple[Wire, socket.socket, socket.socket]) -> None:
    wire, inward, _ = ends
    wire.send(b"abc")
    assert inward.recv(64) == framed(b"abc")


def test_a_wire_that_was_cut_is_no_silence(ends: tuple[Wire, socket.socket, socket.socket]) -> None:
    wire, _, outward = ends
    outward.close()
    with pytest.raises(BootError, match="cut"):
        list(wire.frames(5.0, at_most=60.0))


def test_a_machine_that_talks_all_the_time_is_not_listened_to_for_ever(
    ends: tuple[Wire, socket.socket, socket.socket],
) -> None:
    wire, _, outward = ends
    outward.sendall(framed(b"abc") * 3)
    assert list(wire.frames(60.0, at_most=0.0)) == []
