# SPDX-License-Identifier: Apache-2.0
"""A process that does what we say, by the page through which the payload is driven.

It makes the system calls that it is told to, with user, namespaces, filters and limits of its unit. Owns the
calls, their arguments and the children that make some of them; how a process comes to this is
`escape_takeover`, what is tried is `escape`.
"""

import os
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from mantlet.edge.attack import payload
from mantlet.edge.attack.escape_calls import Call
from mantlet.edge.attack.payload import State
from mantlet_measure.errors import UnavailableError

_POLL = 0.002
_WNOHANG = 1
_STILL_RUNNING = -(1 << 62)


@dataclass(frozen=True, slots=True)
class Room:
    """An argument that points to so many bytes of room, which come back."""

    size: int


@dataclass(frozen=True, slots=True)
class Vector:
    """An argument that points to an array of pointers to strings, with a null pointer at its end."""

    strings: tuple[bytes, ...]


Argument = int | bytes | Room | Vector


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a system call returned (negative: an error's number) and what is in the rooms now."""

    value: int
    rooms: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildEnd:
    """How a child ended. Its call's result, None when it did not come back; its status as wait4 gives it,
    None when it goes on or nobody saw its end."""

    result: int | None
    status: int | None


class Page(Protocol):
    """The page that the process and we share."""

    def read(self, at: int, size: int) -> bytes:
        """Read as it is now."""

    def write(self, at: int, data: bytes) -> None:
        """Write; the process sees it at once."""


@dataclass(slots=True)
class Captive:
    """The process at the other end of `page`."""

    page: Page
    patience: float = 60.0
    crashed: bool = field(default=False, init=False)

    def call(self, number: Call, *arguments: Argument) -> Reply:
        """Have it make a system call. UnavailableError when it does not come back."""
        rooms = self._put(number, arguments, payload.DATA, payload.CHILD_DATA)
        self._run(State.CALL)
        value = self._signed(payload.RESULT)
        return Reply(value=value, rooms=tuple(self.page.read(at, size) for at, size in rooms))

    def call_in_child(self, number: Call, *arguments: Argument) -> ChildEnd:
        """Have a child of it make a system call, and end; await the end of the call or of what it started.

        The child's end is read in /proc, because the runtime may be forbidden to wait.
        """
        self._put(number, arguments, payload.CHILD_DATA, payload.PAGE_SIZE)
        self.page.write(payload.CHILD_RESULT, struct.pack("<q", _STILL_RUNNING))
        self._run(State.CALL_IN_CHILD)
        child = self._signed(payload.RESULT)
        if child < 0:
            return ChildEnd(result=child, status=None)
        end = time.monotonic() + self.patience
        while time.monotonic() < end:
            # In this order: what an ended child has left does not change any more.
            status = self._status_of(child)
            result = self._signed(payload.CHILD_RESULT)
            if result != _STILL_RUNNING or status is not None:
                self.call(Call.WAIT4, child, 0, _WNOHANG, 0)
                return ChildEnd(result=None if result == _STILL_RUNNING else result, status=status)
            time.sleep(_POLL)
        return ChildEnd(result=None, status=None)

    def leave(self) -> None:
        """Have it return to where it was called from, with an error. It does not come back."""
        self.page.write(payload.STATE, struct.pack("<I", State.LEAVE))
        self._wait(lambda: self.page.read(payload.STATE, 4) == bytes(4))

    def fault(self) -> None:
        """Have it touch address 0. It does not come back."""
        self.crashed = True
        self.page.write(payload.STATE, struct.pack("<I", State.FAULT))

    def _status_of(self, child: int) -> int | None:
        """Return the status of a child that ended; proc_pid_stat(5) has it in its last field."""
        path = f"/proc/{child}/stat\0".encode()
        descriptor = self.call(Call.OPENAT, -100, path, os.O_RDONLY | os.O_CLOEXEC).value
        if descriptor < 0:
            return None
        reply = self.call(Call.READ, descriptor, Room(1024), 1024)
        self.call(Call.CLOSE, descriptor)
        fields = reply.rooms[0][: max(reply.value, 0)].rpartition(b")")[2].split()
        return int(fields[-1]) if fields and fields[0] in (b"Z", b"X") else None

    def _put(
        self, number: Call, arguments: tuple[Argument, ...], start: int, end: int
    ) -> list[tuple[int, int]]:
        """Write a request but for its state, with what it points to in a part of the page.

        Returns place and size of each room.
        """
        (base,) = struct.unpack("<Q", self.page.read(payload.ADDRESS, 8))
        data = bytearray()
        rooms: list[tuple[int, int]] = []

        def add(content: bytes) -> int:
            data.extend(bytes(-len(data) % 8))
            at = start + len(data)
            data.extend(content)
            return at

        words = []
        for argument in arguments:
            match argument:
                case int():
                    words.append(argument)
                case bytes():
                    words.append(base + add(argument))
                case Room(size):
                    rooms.append((add(bytes(size)), size))
                    words.append(base + rooms[-1][0])
                case Vector(strings):
                    pointers = [base + add(string + b"\0") for string in strings]
                    words.append(base + add(struct.pack(f"<{len(pointers) + 1}Q", *pointers, 0)))
        if len(data) > end - start:
            raise ValueError(f"{len(data)} bytes of arguments do not fit into {end - start}")
        self.page.write(start, bytes(data))
        self.page.write(payload.CALL, payload.call(number, words))
        return rooms

    def _run(self, state: State) -> None:
        # A child takes its request later than its parent answers, and the next may not be written before.
        self.page.write(payload.TAKEN, bytes(4))
        self.page.write(payload.STATE, struct.pack("<I", state))
        self._wait(self._is_done)

    def _wait(self, done: Callable[[], bool]) -> None:
        end = time.monotonic() + self.patience
        while not done():
            if time.monotonic() > end:
                raise UnavailableError(
                    f"taken runtime: expected a call to return within {self.patience:.0f} s, found none",
                    hint="is the machine still on? A call that waits for others cannot be made",
                )
            time.sleep(_POLL)

    def _is_done(self) -> bool:
        state, taken = struct.unpack("<II", self.page.read(payload.STATE, 8))
        # No child takes a request when none could be made.
        return state == State.READY and (taken == 1 or self._signed(payload.RESULT) < 0)

    def _signed(self, at: int) -> int:
        value: int = struct.unpack("<q", self.page.read(at, 8))[0]
        return value
