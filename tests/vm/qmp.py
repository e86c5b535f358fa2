# SPDX-License-Identifier: Apache-2.0
"""QEMU's machine protocol, as far as somebody at the machine needs it: keys, screen, the cable of a port."""

import json
import socket
from pathlib import Path
from types import TracebackType
from typing import Any

from mantlet.edge.machine import Machine

PATIENCE = 30.0


class Monitor:
    """One session; a context manager."""

    def __init__(self, machine: Machine) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE)
        self._socket.connect(str(machine.monitor))
        self._reader = self._socket.makefile("rb")
        assert "QMP" in json.loads(self._reader.readline())
        self.call("qmp_capabilities")

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.close()
        self._socket.close()

    def call(self, command: str, **arguments: object) -> Any:
        """Call a command and return its answer; events in between are passed over."""
        self._socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        while line := self._reader.readline():
            answer = json.loads(line)
            if "event" not in answer:
                assert "return" in answer, f"{command}: {answer}"
                return answer["return"]
        raise AssertionError(f"{command}: the monitor closed")

    def press(self, *keys: str) -> None:
        """Press keys together."""
        codes = [{"type": "qcode", "data": key} for key in keys]
        self.call("send-key", keys=codes)

    def screen(self, path: Path) -> bytes:
        """The picture on the screen."""
        path.unlink(missing_ok=True)
        self.call("screendump", filename=str(path))
        return path.read_bytes()

    def plug_cable(self, port: str, path: Path, *, log: Path) -> None:
        """Put a cable with somebody at its other end into a port that wrote to a file; the file goes on."""
        address = {"type": "unix", "data": {"path": str(path)}}
        backend = {"addr": address, "server": True, "wait": False, "logfile": str(log), "logappend": True}
        self.call("chardev-change", id=port, backend={"type": "socket", "data": backend})
