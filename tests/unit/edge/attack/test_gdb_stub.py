# SPDX-License-Identifier: Apache-2.0
"""The stub for debuggers of the real QEMU: a machine without firmware settings, and its memory in a file."""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mantlet.edge.attack.gdb_stub import Stub
from mantlet.edge.attack.guest_memory import GuestMemory
from mantlet.edge.process import Running
from mantlet.edge.tools import ToolsTree
from mantlet_measure.errors import UnavailableError

MEMORY = 64 << 20
PLACE = 48 << 20


@dataclass(frozen=True)
class Guest:
    folder: Path
    running: Running


@pytest.fixture
def guest(tools: ToolsTree) -> Iterator[Guest]:
    # Unix sockets have short names only.
    with tempfile.TemporaryDirectory(prefix="mantlet-") as name:
        folder = Path(name)
        words = [
            *("qemu-system-x86_64", "-machine", "q35,memory-backend=memory", "-m", "64", "-nodefaults"),
            *("-object", f"memory-backend-file,id=memory,size=64M,mem-path={folder}/memory,share=on"),
            *("-display", "none", "-accel", "tcg"),
            *("-chardev", f"socket,id=stub,path={folder}/stub,server=on,wait=off", "-gdb", "chardev:stub"),
        ]
        running = Running(tools.command(words, rw=[folder]), log=folder / "log")
        end = time.monotonic() + 60
        while not (folder / "stub").exists():
            assert running.returncode is None, running.last_words()
            assert time.monotonic() < end
            time.sleep(0.05)
        yield Guest(folder, running)
        running.stop()


def test_what_is_written_is_in_the_memory_of_the_machine(guest: Guest) -> None:
    with Stub(guest.folder / "stub") as stub:
        stub.write(PLACE, b"written by the stub")
    assert GuestMemory(guest.folder / "memory").read(PLACE, 19) == b"written by the stub"
    assert guest.running.returncode is None


def test_a_second_session_follows_the_first(guest: Guest) -> None:
    for content in (b"first", b"again"):
        with Stub(guest.folder / "stub") as stub:
            stub.write(PLACE, content)
    assert GuestMemory(guest.folder / "memory").read(PLACE, 5) == b"again"


def test_an_address_beyond_the_machine_is_refused(guest: Guest) -> None:
    with Stub(guest.folder / "stub") as stub, pytest.raises(UnavailableError, match="expected OK"):
        stub.write(1 << 60, b"nowhere")
