# SPDX-License-Identifier: Apache-2.0
"""What the kernel tells of processes, as they do it (Linux, include/uapi/linux/connector.h and cn_proc.h).

Owns the socket of the proc connector, the subscription, and the decoding of its messages. Only five kinds are
subscribed to, so that threads that come and go do not wake anybody. What an event means is judged elsewhere.
"""

import os
import socket
import struct
from dataclasses import dataclass
from enum import IntFlag

from mantlet_measure.errors import DecodeError

_WHAT = "process event"
_NETLINK_CONNECTOR = 11
_NLMSG_DONE = 3
_CN_IDX_PROC = _CN_VAL_PROC = 1
_PROC_CN_MCAST_LISTEN = 1
_NLMSGHDR = struct.Struct("=IHHII")
_CN_MSG = struct.Struct("=IIIIHH")
# struct proc_event: what, cpu, timestamp_ns; then the thread and the process of each kind that is asked for.
_EVENT = struct.Struct("=IIQII")
_SUBSCRIPTION = struct.Struct("=II")
_LARGEST = 4096
# The proof is in the buffer when its maker has ended; before it stands what others did in that moment.
_PROOF_EVENTS = 64
_PROOF_SECONDS = 1.0


class Happening(IntFlag):
    """`enum proc_cn_event`, those that Mantlet asks for."""

    EXEC = 0x002
    UID = 0x004
    GID = 0x040
    SID = 0x080
    PTRACE = 0x100


_WANTED = Happening.EXEC | Happening.UID | Happening.GID | Happening.SID | Happening.PTRACE


class LostError(Exception):
    """The kernel had events for us that will not come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcEvent:
    """Something that a process did; `process` is its number in the first PID namespace."""

    happening: Happening
    process: int


def decode(message: bytes) -> ProcEvent | None:
    """Decode one netlink message; None for an acknowledgement. DecodeError on anything unexpected."""
    try:
        length, kind, _, _, _ = _NLMSGHDR.unpack_from(message)
        index, value, _, _, size, _ = _CN_MSG.unpack_from(message, _NLMSGHDR.size)
        what, _, _, _, process = _EVENT.unpack_from(message, _NLMSGHDR.size + _CN_MSG.size)
    except struct.error:
        raise DecodeError(_WHAT, expected="a whole message", found=f"{len(message)} bytes") from None
    body = len(message) - _NLMSGHDR.size - _CN_MSG.size
    if (length, kind, index, value) != (len(message), _NLMSG_DONE, _CN_IDX_PROC, _CN_VAL_PROC) or size > body:
        raise DecodeError(_WHAT, expected="a message of the proc connector", found=message[:36].hex())
    if what == 0:
        return None
    if what not in {int(each) for each in Happening}:
        raise DecodeError(_WHAT, expected="a kind that was asked for", found=f"{what:#x}")
    return ProcEvent(happening=Happening(what), process=process)


class Events:
    """The stream of events, from the moment that this is made. A context manager.

    Must be in the first PID, user and network namespace; no capability is needed since Linux 6.6.
    """

    def __init__(self) -> None:
        """Subscribe, and see that events come: a child makes one. OSError; LostError when they do not."""
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, _NETLINK_CONNECTOR
        )
        self._socket.bind((0, _CN_IDX_PROC))
        wanted = _SUBSCRIPTION.pack(_PROC_CN_MCAST_LISTEN, _WANTED)
        message = _CN_MSG.pack(_CN_IDX_PROC, _CN_VAL_PROC, 0, 0, len(wanted), 0) + wanted
        header = _NLMSGHDR.pack(_NLMSGHDR.size + len(message), _NLMSG_DONE, 0, 0, 0)
        self._socket.send(header + message)
        self.earlier = self._prove()

    def __enter__(self) -> "Events":
        """Return the stream itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Unsubscribe."""
        self._socket.close()

    def next(self, *, seconds: float) -> ProcEvent | None:
        """Return the next event; None when none came within `seconds`. LostError, DecodeError."""
        self._socket.settimeout(seconds)
        try:
            message, (sender, _) = self._socket.recvfrom(_LARGEST)
        except TimeoutError:
            return None
        except OSError as error:
            # netlink(7): ENOBUFS says that the receive buffer was full, and messages were dropped.
            raise LostError(str(error)) from error
        # Port 0 is the kernel's.
        return decode(message) if sender == 0 else None

    def _prove(self) -> tuple[ProcEvent, ...]:
        """Have a child open a session, wait to be told so, and return what else was told before."""
        child = os.fork()
        if child == 0:
            os.setsid()
            os._exit(0)
        os.waitpid(child, 0)
        proof = ProcEvent(happening=Happening.SID, process=child)
        earlier: list[ProcEvent] = []
        for _ in range(_PROOF_EVENTS):
            event = self.next(seconds=_PROOF_SECONDS)
            if event == proof:
                return tuple(earlier)
            if event is not None:
                earlier.append(event)
        raise LostError("a child opened a session, and nothing was told of it")
