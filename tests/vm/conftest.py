# SPDX-License-Identifier: Apache-2.0
"""The machines of this room. A live one is booted again only when another has taken its place."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mantlet.cli.boot import AWAITING_KEY, SERVING
from mantlet.edge import accelerator, demo_model, project
from mantlet.edge.attack.tiny_gguf import tiny_gguf
from mantlet.edge.image import Build
from mantlet.edge.keys import KeyFolder
from mantlet.edge.tools import ToolsTree
from mantlet_measure.evidence import State
from tests.vm.rig import Rig, Site
from tests.vm.watch import Boot, Watch


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
    site = rig.site("tiny", tiny_model, model_id="tiny")
    rig.provision(site)
    rig.power_off()
    return site
