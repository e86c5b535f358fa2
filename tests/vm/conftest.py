# SPDX-License-Identifier: Apache-2.0
"""The machines of this room. Each is made once; a live one is booted again only when another took its place."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mantlet.cli.boot import AWAITING_KEY, SERVING
from mantlet.client.attest import attest, fetch_evidence
from mantlet.edge import accelerator, demo_model, project
from mantlet.edge.image import Build
from mantlet.edge.keys import KeyFolder
from mantlet.edge.machine import Line, Machine
from mantlet.edge.tools import ToolsTree
from mantlet.verifier.result import AttestationResult
from mantlet_measure import evidence as evidence_format
from mantlet_measure.evidence import Evidence, State
from tests.tiny_gguf import tiny_gguf
from tests.vm.exposed import Exposed
from tests.vm.exposed import exposed as plug_in_everything
from tests.vm.rig import BOOT_SECONDS, Rig, Site
from tests.vm.tpm_trace import Trace

TINY = "tiny"


@dataclass(frozen=True, kw_only=True)
class Boot:
    """One boot as it was seen from outside while it was on."""

    lines: tuple[Line, ...]
    serial: bytes
    trace: Trace
    evidence: dict[State, Evidence]
    results: dict[State, AttestationResult]
    times: dict[str, float]


@dataclass(kw_only=True)
class Watch:
    """Collects what becomes a `Boot`."""

    rig: Rig
    machine: Machine
    evidence: dict[State, Evidence] = field(default_factory=dict)
    results: dict[State, AttestationResult] = field(default_factory=dict)
    times: dict[str, float] = field(default_factory=dict)

    def wait_for(self, line: Line) -> None:
        """Wait for a line, and note when each came."""
        self.machine.wait_for(line, seconds=BOOT_SECONDS, tell=self._tell)

    def attest(self, state: State) -> None:
        """Verify the machine, and keep evidence of that state as it was received."""
        with self.rig.connect(self.machine) as connection:
            self.results[state] = attest(connection, self.rig.question(state))
            self.evidence[state] = evidence_format.decode(fetch_evidence(connection, bytes(range(32))))

    def seen(self) -> Boot:
        """Return all of it."""
        return Boot(
            lines=self.machine.lines(),
            serial=self.machine.serial.read_bytes(),
            trace=Trace(self.machine.trace),
            evidence=self.evidence,
            results=self.results,
            times=self.times,
        )

    def _tell(self, elapsed: float, line: Line) -> None:
        self.times.setdefault(f"{line.stage} {line.code}", round(elapsed, 1))


@pytest.fixture(scope="session")
def rig(built: Build, tools: ToolsTree, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    keys = KeyFolder(project.key_folder())
    keys.policy()
    keys.deployment()
    bench = Rig(
        built=built,
        tools=tools,
        folder=tmp_path_factory.mktemp("rig"),
        accelerator=accelerator.probe(tools),
    )
    yield bench
    bench.power_off()


@pytest.fixture(scope="session")
def demo(rig: Rig) -> Site:
    """The default model, packed and deployed for a machine that was never booted."""
    return rig.site("demo", demo_model.fetch(), model_id=demo_model.MODEL_ID)


@pytest.fixture(scope="session")
def first(rig: Rig, demo: Site) -> Boot:
    """The first boot of a new machine: it awaits its key, gets it, and serves."""
    watch = Watch(rig=rig, machine=rig.boot(demo))
    watch.wait_for(AWAITING_KEY)
    watch.attest(State.AWAITING_KEY)
    rig.seal(watch.machine, demo)
    watch.wait_for(SERVING)
    watch.attest(State.SERVING)
    rig.power_off()
    return watch.seen()


@dataclass(kw_only=True)
class Live:
    """A machine that is booted when it is asked for, and again only when it is not on any more."""

    watch: Watch | None = None


@pytest.fixture(scope="session")
def _second() -> Live:
    return Live()


@pytest.fixture
def second(rig: Rig, demo: Site, first: Boot, _second: Live) -> Watch:
    """The second boot of the same machine, on and serving. Nobody hands it anything."""
    if _second.watch is None or not rig.is_current(_second.watch.machine):
        watch = Watch(rig=rig, machine=rig.boot(demo))
        watch.wait_for(SERVING)
        watch.attest(State.SERVING)
        _second.watch = watch
    return _second.watch


@pytest.fixture(scope="session")
def tiny_model(rig: Rig) -> Path:
    """The tiny model as a file."""
    path = rig.folder / "tiny.gguf"
    path.write_bytes(tiny_gguf())
    return path


@pytest.fixture(scope="session")
def sealed(rig: Rig, tiny_model: Path) -> Site:
    """A machine that has its key, and is off: it serves the tiny model whenever it is booted untouched."""
    site = rig.site(TINY, tiny_model, model_id=TINY)
    rig.provision(site)
    rig.power_off()
    return site


@pytest.fixture(scope="session")
def _exposed() -> Iterator[dict[str, tuple[ExitStack, Exposed]]]:
    live: dict[str, tuple[ExitStack, Exposed]] = {}
    yield live
    for stack, _ in live.values():
        stack.close()


@pytest.fixture
def exposed(rig: Rig, sealed: Site, _exposed: dict[str, tuple[ExitStack, Exposed]]) -> Exposed:
    """A copy of the sealed machine with everything plugged in, on and serving."""
    stack, found = _exposed.get("", (ExitStack(), None))
    if found is None or not rig.is_current(found.machine):
        stack.close()
        stack = ExitStack()
        # Unix sockets have short names only.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mantlet-")))
        found = stack.enter_context(plug_in_everything(rig, sealed.copy(folder), folder))
        _exposed[""] = stack, found
    return found
