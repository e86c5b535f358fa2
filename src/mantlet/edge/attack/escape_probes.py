# SPDX-License-Identifier: Apache-2.0
"""The probes of a taken runtime: take it over once in a boot, make a family's attempts, crash it at last.

The page through which it is driven is noted in the folder of the boot, so that each probe finds what the one
before took. A phrase of a probe is an attempt that succeeded; a failing instrument leaves the probe untried.
"""

import json
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from mantlet.attack.catalogue.runtime import MEMORY, STUB
from mantlet.edge import audited_tree
from mantlet.edge.attack import escape, escape_files, escape_kernel, escape_programs, escape_sockets
from mantlet.edge.attack.escape import Attempt, Family
from mantlet.edge.attack.escape_process import Captive, find_page, plant
from mantlet.edge.attack.gdb_stub import Stub
from mantlet.edge.attack.guest_memory import GuestMemory
from mantlet.edge.attack.scene import CannotTryError, Probe, Scene
from mantlet.edge.attack.stand import MODEL
from mantlet.edge.audited_tree import FileSystem
from mantlet.edge.image import Build
from mantlet.edge.machine import Machine
from mantlet.edge.tools import ToolsTree
from mantlet_measure.errors import UnavailableError

ATTEMPTS: tuple[Attempt, ...] = (
    *escape_files.ATTEMPTS,
    *escape_kernel.ATTEMPTS,
    *escape_sockets.ATTEMPTS,
    *escape_programs.ATTEMPTS,
)
"""Every attempt, in an order in which none takes away the next one's means."""

_NOTE = "taken-runtime"
_LIBRARY = "/usr/lib/x86_64-linux-gnu/libllama.so."
_LIBRARY_LIMIT = 64 << 20
_TAKE_SECONDS = 180.0
_PATIENCE = 60.0
# Until the machine is off after a crash; under emulation, on a busy host.
_END_SECONDS = 240.0
# Linux, fs/binfmt_elf.c: a core begins its notes with the registers, 336 bytes on x86-64, under this name.
CORE = struct.pack("<III", 5, 336, 1) + b"CORE\0\0\0\0"


def library(built: Build, tools: ToolsTree, folder: Path) -> bytes:
    """Return libllama.so as the image has it. folder: a new one for what is unpacked.

    UnavailableError when the image has none.
    """
    nodes = audited_tree.unpack(built.path("root.raw").resolve(), 0, FileSystem.EROFS, folder, tools=tools)
    for path, node in nodes.items():
        if path.startswith(_LIBRARY) and node.is_file:
            return node.content(_LIBRARY_LIMIT)
    raise UnavailableError(
        f"root of the image: expected {_LIBRARY}…, found none",
        hint="name the library of this image's runtime in mantlet.edge.attack.escape_probes",
    )


@contextmanager
def taken(machine: Machine, folder: Path, code: Callable[[], bytes]) -> Iterator[Captive]:
    """Take the runtime of a serving machine over, or find the one that was taken before.

    folder: where its memory and its stub are; code: returns the library. UnavailableError when it fails.
    """
    memory, note = GuestMemory(folder / MEMORY), folder / _NOTE
    if not note.exists():
        content = code()
        with Stub(folder / STUB) as stub:
            marker = plant(memory, stub, content)
        with prompting(machine):
            address = find_page(memory, marker, seconds=_TAKE_SECONDS)
        note.write_text(json.dumps(address), encoding="ascii")
    with memory.page(json.loads(note.read_text("ascii"))) as page:
        yield Captive(page)


@contextmanager
def prompting(machine: Machine) -> Iterator[None]:
    """Send a prompt, and hang up afterwards: its answer will not come."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # The prompt is no secret, and the runtime behind it is ours: nothing here is verified.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    message = {"role": "user", "content": "hello"}
    body = json.dumps({"model": MODEL, "messages": [message], "max_tokens": 2}).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    plain = socket.create_connection(("127.0.0.1", machine.port), timeout=_PATIENCE)
    with plain, context.wrap_socket(plain) as secured:
        secured.sendall(head.encode() + body)
        yield


def tried(captive: Captive, attempts: Sequence[Attempt]) -> dict[str, escape.Outcome]:
    """Make the instruments' calls and the attempts. CannotTryError when an instrument fails."""
    every = (*escape_programs.INSTRUMENTS, *attempts)
    outcomes = escape.run(captive, every)
    if failed := escape.failed_instruments(every, outcomes):
        raise CannotTryError(
            f"taken runtime: expected it to {failed[0].id}, found {outcomes[failed[0].id].found}",
            hint="what this runtime was refused says nothing until it can do what every process can",
        )
    return outcomes


def crash(machine: Machine, captive: Captive, folder: Path) -> tuple[str, ...]:
    """Crash the runtime; return what of it is seen: memory in a core, a machine that goes on."""
    captive.fault()
    found = []
    end = time.monotonic() + _END_SECONDS
    while machine.is_on() and time.monotonic() < end:
        time.sleep(0.5)
    if machine.is_on():
        found.append("the machine goes on without its runtime")
    cores = list(GuestMemory(folder / MEMORY).find(CORE))
    if cores:
        found.append(f"{len(cores)} cores are in memory")
    return tuple(found)


def _code(scene: Scene) -> Callable[[], bytes]:
    return lambda: library(scene.stand.built, scene.stand.tools, scene.folder / "root")


def _attempts(family: Family) -> Probe:
    def probe(scene: Scene) -> tuple[str, ...]:
        attempts = [attempt for attempt in ATTEMPTS if attempt.family is family]
        with taken(scene.machine, scene.folder, _code(scene)) as captive:
            outcomes = tried(captive, attempts)
        return tuple(
            f"{attempt.id}: {outcomes[attempt.id].found}" for attempt in escape.breaches(attempts, outcomes)
        )

    return probe


def _crash(scene: Scene) -> tuple[str, ...]:
    with taken(scene.machine, scene.folder, _code(scene)) as captive:
        return crash(scene.machine, captive, scene.folder)


PROBES = MappingProxyType(
    {
        "runtime-escape": _attempts(Family.ESCAPE),
        "runtime-sockets": _attempts(Family.SOCKETS),
        "runtime-network": _attempts(Family.NETWORK),
        "runtime-core": _crash,
    }
)
"""By the name that the catalogue has for each."""
