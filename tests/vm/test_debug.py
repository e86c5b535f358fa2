# SPDX-License-Identifier: Apache-2.0
"""The debug image serves like the sealed one, says from outside what it is, and lets in whoever types.

One boot of it, provisioned as any machine is. Its other openings are the attacks' controls.
"""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mantlet.cli.boot import AWAITING_KEY, SERVING
from mantlet.client.attest import fetch_evidence
from mantlet.edge import accelerator
from mantlet.edge.attack.ports import Port
from mantlet.edge.attack.qmp import Monitor
from mantlet.edge.attack.tiny_gguf import tiny_gguf
from mantlet.edge.attack.tpm_trace import SUCCESS, UNSEAL, Trace
from mantlet.edge.image import Build
from mantlet.edge.machine import Machine
from mantlet.edge.profile import Profile
from mantlet.edge.tools import ToolsTree
from mantlet_measure import evidence as evidence_format
from tests.vm.rig import BOOT_SECONDS, Rig

pytestmark = pytest.mark.vm

PROMPT_SECONDS = 240.0
# TPM 2.0 Library, Part 2, 6.6.3.
PCR_CHANGED = 0x128


@pytest.fixture(scope="module")
def bench(debug_built: Build, tools: ToolsTree, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    rig = Rig(
        built=debug_built,
        tools=tools,
        folder=tmp_path_factory.mktemp("debug"),
        accelerator=accelerator.probe(tools),
        kind=Profile.DEBUG,
    )
    yield rig
    rig.power_off()


@pytest.fixture(scope="module")
def cables() -> Iterator[Path]:
    """A folder that QEMU may make sockets in; they have short names only."""
    with tempfile.TemporaryDirectory(prefix="mantlet-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def machine(bench: Rig, cables: Path) -> Machine:
    """On and serving, after it was given its key as any machine is: awaiting it, it verifies."""
    model = bench.folder / "tiny.gguf"
    model.write_bytes(tiny_gguf())
    site = bench.site("tiny", model, model_id="tiny")
    # A prompt at a port that is not there ends and starts again, for the fuse to see.
    ports = ("-serial", "null") * 3
    booted = bench.boot(site, replace(bench.hardware(site), extra=ports, extra_folders=(cables,)))
    booted.wait_for(AWAITING_KEY, seconds=BOOT_SECONDS)
    bench.seal(booted, site)
    booted.wait_for(SERVING, seconds=BOOT_SECONDS)
    return booted


def heard(machine: Machine) -> bytes:
    return machine.serial.read_bytes()


def test_it_says_what_it_is_before_anything_else_of_the_root(machine: Machine) -> None:
    assert b"*** Mantlet DEBUG: this image is not sealed." in heard(machine)


def test_kernel_and_systemd_write_to_the_port(machine: Machine) -> None:
    assert b"Linux version" in heard(machine)
    assert b"Mantlet DEBUG: not sealed, not for secrets" in heard(machine)


def test_it_gives_the_key_out_twice(machine: Machine) -> None:
    # A register that is extended in between (TPM_RC_PCR_CHANGED) has the agent ask again.
    answers = [answer for answer in Trace(machine.trace).results(UNSEAL) if answer != PCR_CHANGED]
    assert answers == [SUCCESS, SUCCESS]


def test_evidence_of_a_machine_without_a_cap_is_refused(bench: Rig, machine: Machine) -> None:
    said = bench.run("verify", f"https://127.0.0.1:{machine.port}", *bench.trust())
    assert said.code == 1
    assert "REFUSED   at step" in said.result


def test_it_is_refused_by_who_did_not_ask_for_a_debug_image(bench: Rig, machine: Machine) -> None:
    words = [word for word in bench.trust() if word not in bench.consent]
    said = bench.run("verify", f"https://127.0.0.1:{machine.port}", *words)
    assert said.code == 1
    assert "expected a sealed image, found the debug image mantlet-debug" in said.story


def test_the_login_fuse_holds_as_long_as_nobody_logs_in(bench: Rig, machine: Machine) -> None:
    assert last_event(bench, machine) == "weights"


def test_root_logs_in_on_the_agents_port_by_his_name_alone_and_the_fuse_burns(
    bench: Rig, machine: Machine, cables: Path
) -> None:
    with Monitor(machine) as monitor:
        monitor.plug_cable("serial", cables / "cable", log=machine.serial)
    with Port(cables / "cable") as port:
        port.type(b"\r")
        wait_for(port, b"login: ")
        port.type(b"root\r")
        wait_for(port, b"# ")
        # What is looked for is not what is typed: the shell has to work it out.
        port.type(b"echo uid=$(id -u) on $(tty)\r")
        wait_for(port, b"uid=0 on /dev/ttyS0")
    assert last_event(bench, machine) == "fuse"
    said = bench.run("verify", f"https://127.0.0.1:{machine.port}", *bench.trust())
    assert said.code == 1
    assert "login fuse: expected not burnt, observed burnt" in said.story


def last_event(bench: Rig, machine: Machine) -> str:
    with bench.connect(machine) as connection:
        return evidence_format.decode(fetch_evidence(connection, bytes(32))).agent_log[-1].event


def wait_for(port: Port, text: bytes) -> None:
    deadline = time.monotonic() + PROMPT_SECONDS
    while text not in port.heard:
        assert time.monotonic() < deadline, port.heard[-400:]
        time.sleep(0.2)
