# SPDX-License-Identifier: Apache-2.0
"""QEMU's machine protocol, as far as somebody at the machine needs it: keys, screen, the cable of a port."""

import json
import select
import socket
from pathlib import Path
from types import TracebackType
from typing import Any

from mantlet.edge.machine import BootError, Machine

PATIENCE = 30.0


class Monitor:
    """One session; a context manager."""

    def __init__(self, machine: Machine) -> None:
        """Greet the monitor of a machine that is on."""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE)
        self._socket.connect(str(machine.monitor))
        # Unbuffered, so that what is not read yet can be seen to be there.
        self._reader = self._socket.makefile("rb", buffering=0)
        self.events: list[str] = []
        self._reader.readline()
        self.call("qmp_capabilities")

    def __enter__(self) -> "Monitor":
        """It has begun already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hang up."""
        self._reader.close()
        self._socket.close()

    def call(self, command: str, **arguments: object) -> Any:
        """Call a command and return its answer; events in between are passed over."""
        self._socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        while line := self._reader.readline():
            answer = json.loads(line)
            if "event" in answer:
                self.events.append(_event(answer))
            elif "return" in answer:
                return answer["return"]
            else:
                raise _refused(command, answer["error"]["desc"])
        raise _refused(command, "the monitor closed")

    def drain(self) -> tuple[str, ...]:
        """Take in the events that have come; return all of this session, as `NAME by`."""
        while select.select([self._socket], [], [], 0)[0] and (line := self._reader.readline()):
            self.events.append(_event(json.loads(line)))
        return tuple(self.events)

    def press(self, *keys: str) -> None:
        """Press keys together."""
        codes = [{"type": "qcode", "data": key} for key in keys]
        self.call("send-key", keys=codes)

    def screen(self, path: Path) -> bytes:
        """The picture on the screen."""
        path.unlink(missing_ok=True)
        self.call("screendump", filename=str(path))
        return path.read_bytes()

    def statistics(self) -> dict[str, tuple[int, int]]:
        """Bytes read and written of each drive, by its name."""
        return {
            entry["device"]: (entry["stats"]["rd_bytes"], entry["stats"]["wr_bytes"])
            for entry in self.call("query-blockstats")
        }

    def plug_cable(self, port: str, path: Path, *, log: Path) -> None:
        """Put a cable with somebody at its other end into a port that wrote to a file; the file goes on."""
        address = {"type": "unix", "data": {"path": str(path)}}
        backend = {"addr": address, "server": True, "wait": False, "logfile": str(log), "logappend": True}
        self.call("chardev-change", id=port, backend={"type": "socket", "data": backend})


def _event(answer: Any) -> str:
    """A word for an event: its name, and whether the guest or the host is its cause."""
    by = answer.get("data", {}).get("guest")
    return f"{answer['event']} {'' if by is None else 'guest' if by else 'host'}".strip()


def _refused(command: str, found: str) -> BootError:
    return BootError(
        f"monitor: expected {command} to be carried out, found: {found}",
        hint="what QEMU said is in the machine's qemu.log",
    )
