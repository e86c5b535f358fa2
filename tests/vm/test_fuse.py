# SPDX-License-Identifier: Apache-2.0
"""The login fuse burns on an image that was weakened by a way in; that it holds, test_second_boot.py shows.

The weakened image is the production recipe and one unit pair: whoever types on the second serial port has a
program started, as a getty does. All else, the release's keys among it, is the same.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from mantlet.cli.boot import AWAITING_KEY, SERVING
from mantlet.client.attest import fetch_evidence
from mantlet.edge import image, process, project, recipe
from mantlet.edge.attack.ports import Port
from mantlet.edge.attack.tpm_trace import Trace
from mantlet.edge.image import Build
from mantlet.edge.keys import KeyFolder
from mantlet.edge.machine import Machine
from mantlet.verifier.steps import Step
from mantlet_measure import evidence as evidence_format
from mantlet_measure.pcr import BANKS
from mantlet_measure.words import FuseKind, fuse_event
from tests.vm.rig import BOOT_SECONDS, Rig, Said, Site

pytestmark = pytest.mark.vm

QUESTIONS = 25
SOCKET = """\
[Socket]
ListenSpecial=/dev/ttyS1
Writable=yes
[Install]
WantedBy=sockets.target
"""
SERVICE = """\
[Service]
Type=oneshot
ExecStart=/usr/bin/udevadm --version
StandardInput=socket
"""


@dataclass(frozen=True, kw_only=True)
class Weakened:
    """A machine of the weakened image, and who sits at its second serial port."""

    rig: Rig
    site: Site
    machine: Machine
    port: Port

    def address(self) -> str:
        return f"https://127.0.0.1:{self.machine.port}"

    def verify(self, *words: str) -> Said:
        return self.rig.run("verify", self.address(), "--json", *self.rig.trust(), *words)

    def log_in(self) -> FuseKind:
        """Type until evidence says that the fuse has burnt, and return why."""
        for number in range(QUESTIONS):
            self.port.type(b"root\n")
            with self.rig.connect(self.machine) as connection:
                found = evidence_format.decode(fetch_evidence(connection, bytes([number]) * 32))
            if found.agent_log[-1].event == "fuse":
                return next(kind for kind in FuseKind if kind.word == found.agent_log[-1].word)
        raise AssertionError("somebody is on the machine, and the fuse holds")


@pytest.fixture(scope="module")
def weak_build(rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> Build:
    """The production recipe and the way in."""
    folder = tmp_path_factory.mktemp("weak")
    rendered, target = folder / "recipe", folder / "image"
    version, keys = recipe.version(project.root()), KeyFolder(project.key_folder())
    parameters = image.render(rendered, name=version, keys=keys)
    system = rendered / "mkosi.extra" / "usr" / "lib" / "systemd"
    (system / "system" / "way-in.socket").write_text(SOCKET)
    (system / "system" / "way-in.service").write_text(SERVICE)
    preset = system / "system-preset" / "00-mantlet.preset"
    preset.write_text("enable way-in.socket\n" + preset.read_text())
    with (rendered / "keep" / "root.list").open("a") as kept:
        kept.write("/etc/systemd/system/sockets.target.wants/way-in.socket\n")
        kept.write("/usr/lib/systemd/system/way-in.*\n")
    target.mkdir()
    image.assemble(rendered, target, image=parameters, epoch=version.epoch, keys=keys, tools=rig.tools)
    manifest = str(target / "measurements.json")
    predict = [sys.executable, "-m", "mantlet", "predict", str(target)]
    process.run([*predict, "--epoch", str(recipe.epoch(project.root())), "--output", manifest])
    return Build(directory=target)


@pytest.fixture(scope="module")
def weak_rig(rig: Rig, weak_build: Build, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    rig.power_off()
    folder = tmp_path_factory.mktemp("weak-rig")
    bench = Rig(built=weak_build, tools=rig.tools, folder=folder, accelerator=rig.accelerator)
    yield bench
    bench.power_off()


@pytest.fixture(scope="module")
def weak_site(weak_rig: Rig, tiny_model: Path) -> Site:
    return weak_rig.site("weak", tiny_model, model_id="tiny")


@pytest.fixture
def weakened(weak_rig: Rig, weak_site: Site) -> Iterator[Weakened]:
    """The machine when it awaits its key, or serves once it has it."""
    # Unix sockets have short names only.
    with tempfile.TemporaryDirectory(prefix="mantlet-") as name:
        path = Path(name) / "port"
        words = ("-chardev", f"socket,id=way,path={path},server=on,wait=off", "-serial", "chardev:way")
        hardware = replace(weak_rig.hardware(weak_site), extra=words, extra_folders=(Path(name),))
        machine = weak_rig.boot(weak_site, hardware)
        with Port(path) as port:
            yield Weakened(rig=weak_rig, site=weak_site, machine=machine, port=port)
        weak_rig.power_off()


def test_who_logs_in_on_a_machine_that_awaits_its_key_keeps_it_from_the_key(weakened: Weakened) -> None:
    weakened.machine.wait_for(AWAITING_KEY, seconds=BOOT_SECONDS)
    assert weakened.verify("--state", "awaiting-key").code == 0
    assert weakened.log_in() is FuseKind.PROGRAM
    refused = weakened.rig.run(
        *("weights", "seal", "--to", f"127.0.0.1:{weakened.machine.port}", "--pack", str(weakened.site.pack)),
        *("--key", str(weakened.site.key), "--policy-key", str(project.key_folder() / "policy.key")),
        *weakened.rig.trust(),
    )
    assert refused.code == 1
    assert "login fuse" in refused.story


def test_who_logs_in_on_a_machine_that_serves_shows_in_its_next_quote(
    weakened: Weakened, tmp_path: Path
) -> None:
    # The boot after a burnt one has a new fuse.
    weakened.machine.wait_for(AWAITING_KEY, seconds=BOOT_SECONDS)
    weakened.rig.seal(weakened.machine, weakened.site)
    weakened.machine.wait_for(SERVING, seconds=BOOT_SECONDS)
    before = weakened.verify()
    assert (before.code, json.loads(before.result)["fuse"]) == (0, "not burnt")
    kind = weakened.log_in()

    refused = weakened.verify()
    assert refused.code == 1
    (step,) = [each for each in json.loads(refused.result)["steps"] if each["outcome"] == "refuse"]
    assert step["number"] == Step.DEPLOYMENT
    assert step["findings"] == [
        {
            "subject": "login fuse",
            "expected": "not burnt",
            "observed": "burnt, program: a program started that is not on the list",
        }
    ]
    # What the TPM was given says the same, and that it was given once.
    given = Trace(weakened.machine.trace).extensions
    words = [each.digests for each in given if each.register == 15]
    assert words[4:] == [{bank.value: fuse_event(kind).digests[bank] for bank in BANKS}]

    # A policy that says so takes the machine as it is; the verdict names it.
    tolerant = tmp_path / "tolerant.yaml"
    policy = (project.root() / "policies/appraisal/test.yaml").read_text()
    tolerant.write_text(policy.replace("fuse: refuse", "fuse: accept"))
    accepted = weakened.verify("--policy", str(tolerant))
    assert (accepted.code, json.loads(accepted.result)["fuse"]) == (0, "program")
