# SPDX-License-Identifier: Apache-2.0
"""Sockets between host and guest (vsock(7)), and who listens in the guest.

The device's other end is a process (vhost-user), which takes connections at a Unix socket: `CONNECT port`,
and `OK` comes back when the guest accepts.
"""

import socket
from pathlib import Path

from mantlet.edge.attack.beside import Server
from mantlet.edge.attack.scene import Scene

# PID 1, ssh, journal and agents listen below; every port would take hours.
PORTS = (*range(1, 4096), 5555, 5556, 8080, 9999, 19531, 19532)
_SECONDS = 20.0
_ENTRANCE = "vsock.host"


def server(folder: Path, cid: int) -> Server:
    """The server of a machine of this number."""
    path = folder / "vsock.socket"
    return Server(
        argv=(
            *("vhost-device-vsock", f"--guest-cid={cid}", f"--socket={path}"),
            f"--uds-path={folder / _ENTRANCE}",
        ),
        socket=path,
        words=(
            *("-chardev", f"socket,id=vsock,path={path}"),
            *("-device", "vhost-user-vsock-pci,chardev=vsock"),
        ),
    )


def scan(scene: Scene) -> tuple[str, ...]:
    """Connect to the ports where something is known to listen."""
    found = []
    for port in PORTS:
        answer = _answer(scene.folder / _ENTRANCE, port)
        if answer is None:
            # A guest that stopped listening: one port speaks for the others.
            break
        if answer.startswith(b"OK "):
            found.append(f"vsock port {port} accepts")
    return tuple(found)


def _answer(entrance: Path, port: int) -> bytes | None:
    """What comes back; nothing where the guest refuses, None where it says neither."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_SECONDS)
        client.connect(str(entrance))
        try:
            client.sendall(f"CONNECT {port}\n".encode("ascii"))
            return client.recv(64)
        except (BrokenPipeError, ConnectionResetError):
            # So it is from the start where the guest has no driver for the device.
            return b""
        except TimeoutError:
            return None
