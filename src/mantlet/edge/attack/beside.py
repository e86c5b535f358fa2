# SPDX-License-Identifier: Apache-2.0
"""Servers of the host beside an attacked machine: a folder that it shares, the other end of a socket.

Each is a process of its own that takes part in the machine's memory (vhost-user), so that no module of the
host's kernel is asked for. Owns their words for QEMU and their life; who asks what over them are `shares` and
`vsock`.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mantlet.edge.process import Running
from mantlet.edge.tools import ToolsTree
from mantlet_measure.errors import MantletError

_SECONDS = 20.0


class BesideError(MantletError):
    """A server did not come up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server: its program's words, the socket at which QEMU meets it, and QEMU's words for the device."""

    argv: Sequence[str]
    socket: Path
    words: Sequence[str]

    @property
    def log(self) -> Path:
        """What it says."""
        return self.socket.with_suffix(".log")

    @contextmanager
    def running(self, tools: ToolsTree) -> Iterator[None]:
        """Run it beside the machine. BesideError when it does not listen."""
        server = Running(tools.command(self.argv, rw=[self.socket.parent]), log=self.log)
        try:
            started = time.monotonic()
            while not self.socket.exists():
                if server.returncode is not None or time.monotonic() > started + _SECONDS:
                    raise BesideError(
                        f"expected a socket {self.socket}, found: {server.last_words()}",
                        hint="run `scripts/just tools`, which brings the server",
                    )
                time.sleep(0.02)
            yield
        finally:
            server.stop()


def memory_words(mib: int) -> tuple[str, ...]:
    """QEMU's words for memory that servers can take part in: as much as the machine has."""
    backend = f"memory-backend-memfd,id=memory,size={mib}M,share=on"
    return ("-object", backend, "-machine", "memory-backend=memory")
