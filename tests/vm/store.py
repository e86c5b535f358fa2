# SPDX-License-Identifier: Apache-2.0
"""An object store that a machine reaches at one address and port, over a network card of its own.

QEMU's `guestfwd` starts a relay for each connection; nothing else is behind that card.
"""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from mantlet.edge.machine import Hardware
from tests.range_server import HOST, Resource, serving

ADDRESS, PORT = "10.0.3.100", 8443
URL = f"https://{HOST}:{PORT}/models/pack.raw?signed=yes"
_RELAY = """
import os, socket, sys, threading
store = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
def up():
    while data := os.read(0, 65536):
        store.sendall(data)
    store.shutdown(socket.SHUT_WR)
threading.Thread(target=up, daemon=True).start()
while data := store.recv(65536):
    while data:
        data = data[os.write(1, data):]
"""


@dataclass(frozen=True, kw_only=True)
class Store:
    """A server on loopback, and the relay to it."""

    resource: Resource
    folder: Path

    @property
    def authority(self) -> Path:
        """PEM: its certificate, without its key."""
        path = self.folder / "authority.pem"
        text = self.resource.authority.read_text()
        certificate = ssl.PEM_cert_to_DER_cert(text[text.index("-----BEGIN CERT") :])
        path.write_text(ssl.DER_cert_to_PEM_cert(certificate))
        return path

    def wired(self, hardware: Hardware) -> Hardware:
        """The same hardware with a card that leads to the store, and without a weights disk."""
        relay = self.folder / "relay.py"
        relay.write_text(_RELAY)
        command = f"cmd:python3 -I {relay} {self.resource.port}"
        card = f"user,id=store,restrict=on,net=10.0.3.0/24,guestfwd=tcp:{ADDRESS}:{PORT}-{command}"
        words = ("-netdev", card, "-device", "virtio-net-pci,netdev=store,romfile=")
        return replace(hardware, weights=None, extra=words, extra_folders=(self.folder,))


@contextmanager
def opened(folder: Path) -> Iterator[Store]:
    """Open a store that holds nothing yet."""
    folder.mkdir(exist_ok=True)
    with serving(Resource(content=b""), folder) as resource:
        yield Store(resource=resource, folder=folder)
