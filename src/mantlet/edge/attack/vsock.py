# SPDX-License-Identifier: Apache-2.0
"""Sockets between host and guest (vsock(7)), and who listens in the guest.

The device's other end is a process (vhost-user), which takes connections at a Unix socket: `CONNECT port`,
and `OK` comes back when the guest accepts.
"""

import socket
from pathlib import Path

from mantlet.edge.attack.beside import Server
from mantlet.edge.attack.scene import CannotTryError, Scene

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
    """Connect to the ports where something is known to listen. CannotTryError where one says nothing."""
    return tuple(f"vsock port {port} accepts" for port in PORTS if _accepts(scene.folder / _ENTRANCE, port))


def _accepts(entrance: Path, port: int) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_SECONDS)
        client.connect(str(entrance))
        try:
            client.sendall(f"CONNECT {port}\n".encode("ascii"))
            return client.recv(64).startswith(b"OK ")
        except (BrokenPipeError, ConnectionResetError):
            # So it is from the start where the guest has no driver for the device.
            return False
        except TimeoutError:
            # Silence is neither: a scan that has not asked the other ports must not say that none accepts.
            raise CannotTryError(
                f"expected an answer of vsock port {port} within {_SECONDS:.0f} s, found none",
                hint="run the attack again on a host that is less busy",
            ) from None
