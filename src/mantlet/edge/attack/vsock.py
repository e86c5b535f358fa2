# SPDX-License-Identifier: Apache-2.0
"""Sockets between host and guest (vsock(7)): whether this host has them, and who listens in the guest.

The device is the host kernel's (/dev/vhost-vsock). Where it is missing the probe says so.
"""

import os
import socket
from pathlib import Path

from mantlet.edge.attack.scene import CannotTryError, Scene

CID = 4711
_DEVICE = Path("/dev/vhost-vsock")
# PID 1, ssh, journal and agents listen below; every port would take hours.
_PORTS = (*range(1, 4096), 5555, 5556, 8080, 9999, 19531, 19532)
_SECONDS = 0.2


def available() -> bool:
    """Whether QEMU can give a guest such a device here."""
    return os.access(_DEVICE, os.R_OK | os.W_OK)


def scan(scene: Scene) -> tuple[str, ...]:
    """Connect to the ports where something is known to listen. CannotTryError without the device."""
    if not available():
        raise CannotTryError(f"the host has no {_DEVICE}", hint="load the kernel module vhost_vsock")
    found = []
    for port in _PORTS:
        with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as client:
            client.settimeout(_SECONDS)
            if client.connect_ex((CID, port)) == 0:
                found.append(f"vsock port {port} accepts")
    return tuple(found)
