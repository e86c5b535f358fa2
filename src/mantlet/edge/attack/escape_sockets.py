# SPDX-License-Identifier: Apache-2.0
"""Attempts to reach others: every socket of the machine by its path or its abstract name, and every network.

Numbers of address families follow Linux, include/linux/socket.h.
"""

import errno
import os
import struct

from mantlet.edge.attack.escape import Attempt, Family, Outcome, refused, succeeded
from mantlet.edge.attack.escape_calls import Call
from mantlet.edge.attack.escape_files import read, sockets
from mantlet.edge.attack.escape_process import Captive

_OWN = "/run/mantlet-runtime/"
_UNIX = 1
_FAMILIES = {"IPv4": 2, "IPv6": 10, "netlink": 16, "packet": 17, "kernel crypto": 38, "vsock": 40, "XDP": 44}
_STREAM, _DATAGRAM, _RAW, _PACKETS = 1, 2, 3, 5
_NONBLOCK = os.O_NONBLOCK
_SOCKETS: dict[str, tuple[str, ...]] = {
    "/run/systemd/private": ("G05", "G06"),
    "/run/systemd/notify": ("G06",),
    "/run/systemd/journal/socket": ("G06",),
    "/run/systemd/journal/dev-log": ("G06",),
    "/run/systemd/journal/stdout": ("G06",),
    "/run/systemd/io.systemd.Manager": ("G05", "G06"),
    "/run/udev/control": ("G06",),
    "/run/dbus/system_bus_socket": ("G05", "G06"),
    "/run/mantlet-serve/evidence.sock": ("G06",),
}


def _connect(captive: Captive, name: bytes) -> int:
    """Connect to a Unix socket of whatever kind; return 0 or the negative error."""
    value = -errno.ENOENT
    for kind in (_STREAM, _DATAGRAM, _PACKETS):
        descriptor = captive.call(Call.SOCKET, _UNIX, kind | _NONBLOCK, 0).value
        if descriptor < 0:
            return descriptor
        address = struct.pack("<H", _UNIX) + name
        value = captive.call(Call.CONNECT, descriptor, address, len(address)).value
        captive.call(Call.CLOSE, descriptor)
        if value != -errno.EPROTOTYPE:
            break
    return value


def _reached(value: int) -> bool:
    """Whether somebody is there: EAGAIN is a full queue."""
    return value >= 0 or value == -errno.EAGAIN


def _connects(path: str, rules: tuple[str, ...]) -> Attempt:
    def perform(captive: Captive) -> Outcome:
        value = _connect(captive, path.encode() + b"\0")
        return succeeded(f"connected to {path}") if _reached(value) else refused(value)

    return Attempt(id=f"connect to {path}", family=Family.SOCKETS, rules=rules, perform=perform)


def _connect_to_all(captive: Captive) -> Outcome:
    """Look for sockets wherever it can look, and connect to each that is not its own."""
    seen = [path for path in sockets(captive, "/run") if not path.startswith(_OWN)]
    open_ = [path for path in seen if _reached(_connect(captive, path.encode() + b"\0"))]
    if open_:
        return succeeded(f"connected to {', '.join(open_)}")
    return Outcome(succeeded=False, found=f"{len(seen)} sockets of others are to be seen")


def _connect_to_abstract(captive: Captive) -> Outcome:
    """Connect to each socket of /proc/net/unix whose name is no path."""
    content = read(captive, "/proc/net/unix")
    if isinstance(content, int):
        return refused(content)
    names = [line.split()[-1] for line in content.decode("utf-8", "replace").splitlines()[1:]]
    abstract = [name for name in names if name.startswith("@")]
    open_ = [name for name in abstract if _reached(_connect(captive, b"\0" + name[1:].encode()))]
    if open_:
        return succeeded(f"connected to {', '.join(open_)}")
    return Outcome(succeeded=False, found=f"{len(abstract)} abstract sockets are to be seen")


def _network(name: str, number: int) -> Attempt:
    def perform(captive: Captive) -> Outcome:
        value = 0
        for kind in (_STREAM, _DATAGRAM, _RAW, _PACKETS):
            value = captive.call(Call.SOCKET, number, kind | _NONBLOCK, 0).value
            if value >= 0:
                captive.call(Call.CLOSE, value)
                return succeeded(f"it has a socket for {name}")
        return refused(value)

    return Attempt(id=f"socket for {name}", family=Family.NETWORK, rules=("N07", "L11"), perform=perform)


def _interfaces(captive: Captive) -> Outcome:
    """Look for interfaces other than the loopback of its own namespace."""
    content = read(captive, "/proc/net/dev")
    if isinstance(content, int):
        return refused(content)
    lines = content.decode("ascii", "replace").splitlines()[2:]
    names = sorted(line.partition(":")[0].strip() for line in lines)
    if names != ["lo"]:
        return succeeded(f"it sees {', '.join(names)}")
    return Outcome(succeeded=False, found="lo alone")


def _datagram_out(captive: Captive) -> Outcome:
    """Connect a datagram socket to an address outside: a route is needed, no packet is sent."""
    descriptor = captive.call(Call.SOCKET, _FAMILIES["IPv4"], _DATAGRAM | _NONBLOCK, 0).value
    if descriptor < 0:
        return refused(descriptor)
    # Port 53 of 192.0.2.1, an address for documentation (RFC 5737).
    address = struct.pack("<H", _FAMILIES["IPv4"]) + struct.pack(">H", 53) + bytes((192, 0, 2, 1)) + bytes(8)
    value = captive.call(Call.CONNECT, descriptor, address, len(address)).value
    captive.call(Call.CLOSE, descriptor)
    return succeeded("there is a way out") if value >= 0 else refused(value)


ATTEMPTS: tuple[Attempt, ...] = (
    *(_connects(path, rules) for path, rules in _SOCKETS.items()),
    Attempt(
        id="connect to every socket", family=Family.SOCKETS, rules=("G05", "G06"), perform=_connect_to_all
    ),
    Attempt(
        id="connect to abstract sockets", family=Family.SOCKETS, rules=("G06",), perform=_connect_to_abstract
    ),
    *(_network(name, number) for name, number in _FAMILIES.items()),
    Attempt(id="see interfaces", family=Family.NETWORK, rules=("N07",), perform=_interfaces),
    Attempt(
        id="reach an address outside", family=Family.NETWORK, rules=("N07", "L11"), perform=_datagram_out
    ),
)
