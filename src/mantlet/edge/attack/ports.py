# SPDX-License-Identifier: Apache-2.0
"""A person at each port of a machine: hears every byte from power-on, and types."""

import select
import socket
import threading
import time
from pathlib import Path
from types import TracebackType

_CONNECT_SECONDS = 20.0


class Port:
    """The other end of a Unix socket that QEMU listens on; a context manager."""

    def __init__(self, path: Path) -> None:
        """Plug in, and begin to listen."""
        self._socket = connect(path)
        self._heard = bytearray()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def __enter__(self) -> "Port":
        """It is plugged in already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Unplug."""
        self._over.set()
        self._thread.join()
        self._socket.close()

    @property
    def heard(self) -> bytes:
        """All that came out of the port so far."""
        return bytes(self._heard)

    def type(self, text: bytes) -> None:
        """Type. A port that nobody reads takes what fits into its FIFO; the rest is lost."""
        try:
            self._socket.send(text)
        except BlockingIOError:
            return

    def _listen(self) -> None:
        while not self._over.is_set():
            if not select.select([self._socket], [], [], 0.2)[0]:
                continue
            try:
                data = self._socket.recv(65536)
            except BlockingIOError:
                continue
            except ConnectionResetError:
                return
            if not data:
                return
            self._heard += data


def connect(path: Path) -> socket.socket:
    """Connect to a socket that is about to appear; what comes back does not block."""
    end = time.monotonic() + _CONNECT_SECONDS
    while True:
        client = socket.socket(socket.AF_UNIX)
        try:
            client.connect(str(path))
        except OSError:
            client.close()
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
            continue
        client.setblocking(False)
        return client
