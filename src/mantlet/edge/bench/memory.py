# SPDX-License-Identifier: Apache-2.0
"""How much memory the agent's three processes hold, seen from outside.

Nobody can look into the guest. So `serve` is run here, by the tools tree's Python, which is the image's: the
same code, with byte code compiled as in the image, on a software TPM, with what a live machine's `boot` left
behind. `boot` cannot run without block devices of its own: what is run in its place loads all modules of the
agent, opens the TPM, makes the keys that `boot` makes, and stops there; and what is run in place of `fuse`
has all that it has when it watches. The kernel says what they hold.
"""

import re
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from mantlet.client.attest import EVIDENCE_PATH
from mantlet.edge import files, project
from mantlet.edge.bench import socket_tpm
from mantlet.edge.bench.outcome import Outcome, Samples, Unit, single
from mantlet.edge.bench.site import Site
from mantlet.edge.process import Running, run
from mantlet_measure import dsse, evidence, strictjson
from mantlet_measure.cel import encode_agent_log
from mantlet_measure.errors import UnavailableError

# The agent takes no options; where its TPM is has to be said before it starts.
_SERVE = """
import sys
sys.path.insert(0, sys.argv[1])
from mantlet_agent import serve
serve.TCTI = sys.argv[2]
sys.exit(serve.main())
"""
_BOOT = """
import importlib, pathlib, pkgutil, sys
sys.path.insert(0, sys.argv[1])
import mantlet_agent
for module in pkgutil.iter_modules(mantlet_agent.__path__):
    importlib.import_module("mantlet_agent." + module.name)
mantlet_agent.tls.make_identity()
with mantlet_agent.tpm.Tpm.open(sys.argv[2]) as tpm:
    tpm.storage_root()
    sys.stdout.write(pathlib.Path("/proc/self/status").read_text("ascii"))
"""
_FUSE = """
import pathlib, sys
sys.path.insert(0, sys.argv[1])
from mantlet_agent import fuse, places
held = fuse.Fuse(places.Places(), 0)
sys.stdout.write(pathlib.Path("/proc/self/status").read_text("ascii"))
"""
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)
_REQUESTS = 20
_SECONDS = 30.0


def measure(site: Site) -> tuple[Outcome, ...]:
    """The peak of each process' resident memory, once a round."""
    folder = files.new_directory(site.folder / "memory")
    library = folder / "agent"
    shutil.copytree(project.root() / "agent" / "src", library, ignore=shutil.ignore_patterns("__pycache__"))
    compile_all = ["python3", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", str(library)]
    run(site.tools.command(compile_all, rw=[library]))
    _leave_as_boot_does(site, folder / "run")
    serving, booting, watching = [], [], []
    for _ in range(site.rounds):
        argv = ["python3", "-IB", "-c", _FUSE, str(library)]
        watching.append(_peak(run(site.tools.command(argv, ro=[library])).stdout.decode("ascii")))
        with _tpm(site, folder) as sockets:
            booting.append(_boot(site, library, sockets))
        with _tpm(site, folder) as sockets:
            serving.append(_serve(site, folder, library, sockets))
    shutil.rmtree(folder)
    samples = tuple(
        Samples(label=label, unit=Unit.MEGABYTES, values=tuple(values))
        for label, values in (
            (
                "`serve` and `fuse`, peaks together",
                [sum(both) for both in zip(serving, watching, strict=True)],
            ),
            ("`serve`, peak", serving),
            ("`fuse`, peak", watching),
            ("`boot`, peak, ends when the machine serves", booting),
        )
    )
    how = (
        f"VmHWM on this machine, with the image's Python and swtpm: `serve` after {_REQUESTS} requests for "
        "evidence, `boot` with all modules loaded and its keys made; the larger one counts"
    )
    larger = max(samples, key=lambda side: side.median)
    outcome = single(larger, name="memory", goal="agent, resident", bound=60.0, how=how)
    return (replace(outcome, samples=samples),)


def _leave_as_boot_does(site: Site, target: Path) -> None:
    """Write the files that `boot` leaves for `serve`, out of what a live machine showed of them."""
    shown = evidence.decode(site.exchange.data)
    public = target / "mantlet" / "public"
    public.mkdir(parents=True)
    stages: dict[str, object] = {"format": "mantlet-stages/v1", "state": shown.state.value, "stages": []}
    for name, content in (
        ("stages.json", strictjson.encode(stages)),
        ("deployment.dsse.json", dsse.encode(shown.deployment)),
        ("tls.spki", shown.tls_spki_sha256.hex().encode("ascii")),
        ("firmware.log", shown.firmware_log),
        ("system.log", shown.system_log),
        ("agent.log.json", strictjson.encode(encode_agent_log(shown.agent_log))),
    ):
        (public / name).write_bytes(content)


@contextmanager
def _tpm(site: Site, folder: Path) -> Iterator[Path]:
    """Power on a copy of the machine's TPM for the block; yield the folder of its sockets."""
    state = files.new_directory(folder / "tpm")
    shutil.copytree(site.machine.folder / "tpm", state, dirs_exist_ok=True)
    with socket_tpm.powered(state, log=folder / "log", tools=site.tools) as sockets:
        yield sockets


def _python(program: str, library: Path, sockets: Path) -> list[str]:
    return ["python3", "-IB", "-c", program, str(library), socket_tpm.tcti(sockets)]


def _boot(site: Site, library: Path, sockets: Path) -> float:
    """Run what stands for `boot`; return its peak."""
    argv = _python(_BOOT, library, sockets)
    return _peak(run(site.tools.command(argv, ro=[library], rw=[sockets])).stdout.decode("ascii"))


def _serve(site: Site, folder: Path, library: Path, sockets: Path) -> float:
    """Run `serve` until it has answered some requests; return its peak."""
    options = [
        *("--ro-bind", f"{folder}/run/mantlet", "/run/mantlet"),
        *("--bind", str(sockets), "/run/mantlet-serve"),
    ]
    argv = _python(_SERVE, library, sockets)
    command = site.tools.command(argv, ro=[library], rw=[sockets], options=options)
    agent = Running(command, log=folder / "log")
    try:
        answering = sockets / "evidence.sock"
        socket_tpm.wait_for(answering, agent)
        for _ in range(_REQUESTS):
            _ask(answering)
        return _peak(Path(f"/proc/{agent.pid}/status").read_text("ascii"))
    finally:
        agent.stop()


def _ask(where: Path) -> None:
    """Ask for evidence as the front does. UnavailableError when there is none."""
    body = strictjson.encode({"nonce": secrets.token_hex(evidence.NONCE_SIZE)})
    head = f"POST {EVIDENCE_PATH} HTTP/1.1\r\nHost: mantlet\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_SECONDS)
        connection.connect(str(where))
        connection.sendall(head.encode("ascii") + body)
        answer = b""
        while chunk := connection.recv(1 << 16):
            answer += chunk
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise UnavailableError(
            f"agent: expected evidence, found {answer[:200]!r}",
            hint="run `scripts/just test`: its tests of the agent say more",
        )


def _peak(status: str) -> float:
    """The most memory that a process has had resident so far, in MB, by its status in /proc."""
    found = _PEAK.search(status)
    if found is None:
        raise UnavailableError(
            "expected VmHWM in the status of a process of the agent, found none",
            hint="the process ended: run the same command again",
        )
    return int(found[1]) * 1024 / 1e6
