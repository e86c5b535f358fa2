# SPDX-License-Identifier: Apache-2.0
"""The probes of a taken runtime: take it over, make a family's attempts, and let it go; or crash it.

A phrase of a probe is an attempt that succeeded; an instrument that fails leaves the probe untried.
"""

import json
import socket
import ssl
import struct
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import MappingProxyType

from mantlet.attack.catalogue.runtime import MEMORY, STUB
from mantlet.edge import audited_tree
from mantlet.edge.attack import escape, escape_files, escape_kernel, escape_programs, escape_sockets
from mantlet.edge.attack.escape import Attempt, Family
from mantlet.edge.attack.escape_process import Captive
from mantlet.edge.attack.escape_takeover import find_page, plant
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

_LIBRARY = "/usr/lib/x86_64-linux-gnu/libllama.so."
_LIBRARY_LIMIT = 64 << 20
_TAKE_SECONDS = 180.0
_PATIENCE = 60.0
_LEAVE_SECONDS = 2.0
# Until the machine is off after a crash; under emulation, on a busy host.
_END_SECONDS = 40.0
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
def taken(machine: Machine, folder: Path, code: bytes) -> Iterator[Captive]:
    """Take the runtime of a serving machine over; afterwards it is its own again, if it still is there.

    folder: where its memory and its stub are; code: of its library. UnavailableError when it fails.
    """
    memory = GuestMemory(folder / MEMORY)
    with Stub(folder / STUB) as stub:
        planted = plant(memory, stub, code)
    with prompting(machine):
        address = find_page(memory, planted.marker, seconds=_TAKE_SECONDS)
    with memory.page(address) as page:
        captive = Captive(page)
        yield captive
        if machine.is_on() and not captive.crashed:
            captive.leave()
            # Its last two instructions are made before they are taken away.
            time.sleep(_LEAVE_SECONDS)
            with Stub(folder / STUB) as stub:
                planted.uproot(stub)


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


def _attempts(family: Family) -> Probe:
    def probe(scene: Scene) -> tuple[str, ...]:
        attempts = [attempt for attempt in ATTEMPTS if attempt.family is family]
        with taken(scene.machine, scene.folder, _library(scene)) as captive:
            outcomes = tried(captive, attempts)
        return tuple(
            f"{attempt.id}: {outcomes[attempt.id].found}" for attempt in escape.breaches(attempts, outcomes)
        )

    return probe


def _crash(scene: Scene) -> tuple[str, ...]:
    with taken(scene.machine, scene.folder, _library(scene)) as captive:
        return crash(scene.machine, captive, scene.folder)


def _library(scene: Scene) -> bytes:
    return _unpacked(scene.stand.built, scene.stand.tools)


@cache
def _unpacked(built: Build, tools: ToolsTree) -> bytes:
    """Unpack a root once for all that ask for its library."""
    with tempfile.TemporaryDirectory(prefix="mantlet-root-") as name:
        return library(built, tools, Path(name) / "root")


PROBES = MappingProxyType(
    {
        "runtime-escape": _attempts(Family.ESCAPE),
        "runtime-sockets": _attempts(Family.SOCKETS),
        "runtime-network": _attempts(Family.NETWORK),
        "runtime-core": _crash,
    }
)
"""By the name that the catalogue has for each."""
