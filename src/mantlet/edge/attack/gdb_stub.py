# SPDX-License-Identifier: Apache-2.0
"""QEMU's stub for debuggers, as far as an attacker needs it: write into physical memory of a running machine.

Follows the GDB remote protocol (GDB manual, appendix E) and QEMU's `Qqemu.PhyMemMode` (QEMU,
docs/system/gdb.rst). The machine stands still while a session lasts. Memory is written here and not through
the file that holds it, because under emulation QEMU must learn that instructions changed.
"""

import socket
from pathlib import Path
from types import TracebackType

from mantlet_measure.errors import UnavailableError

_PATIENCE = 60.0
_ACKNOWLEDGED = b"+"


class Stub:
    """One session; a context manager, in which the machine stands still."""

    def __init__(self, path: Path) -> None:
        """Connect to the stub at `path`. UnavailableError when it does not answer."""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(_PATIENCE)
        self._received = b""
        try:
            self._socket.connect(str(path))
            self._ask("Qqemu.PhyMemMode:1")
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> "Stub":
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the machine run on."""
        try:
            self._ask("Qqemu.PhyMemMode:0")
            self._ask("D")
        finally:
            self._socket.close()

    def write(self, address: int, data: bytes) -> None:
        """Write at a physical address. UnavailableError when the stub refuses."""
        self._ask(f"M{address:x},{len(data):x}:{data.hex()}")

    def _ask(self, words: str) -> None:
        body = words.encode("ascii")
        self._socket.sendall(b"$" + body + b"#" + f"{sum(body) & 0xFF:02x}".encode())
        answer = self._answer()
        # The machine may report that it stopped, before it answers.
        while answer.startswith(b"T"):
            answer = self._answer()
        if answer != b"OK":
            raise UnavailableError(
                f"QEMU's stub for debuggers: expected OK to `{words[:40]}`, found {answer[:40]!r}",
                hint="use the QEMU of the tools tree: run `scripts/just tools`",
            )

    def _answer(self) -> bytes:
        """Return the content of the next packet, and acknowledge it."""
        while True:
            start = self._received.find(b"$")
            end = self._received.find(b"#", start + 1)
            if start >= 0 and 0 <= end <= len(self._received) - 3:
                content = self._received[start + 1 : end]
                self._received = self._received[end + 3 :]
                self._socket.sendall(_ACKNOWLEDGED)
                return content
            try:
                more = self._socket.recv(4096)
            except TimeoutError:
                more = b""
            if not more:
                raise UnavailableError(
                    f"QEMU's stub for debuggers: expected an answer within {_PATIENCE:.0f} s, found none",
                    hint="is the machine still on? Its log is in the machine's folder",
                )
            self._received += more
