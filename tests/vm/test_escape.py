# SPDX-License-Identifier: Apache-2.0
"""A runtime taken over whole, in the production image, and a model made to harm the one that loads it.

One boot serves every attempt: the runtime is taken over with the hypervisor's power over memory, makes all of
them, and crashes. The hostile model has its own machine, and an owner who signs it; the others are the
battery's (`just attacks`).
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from mantlet.attack.catalogue import runtime
from mantlet.attack.changes import FOLDER
from mantlet.cli.boot import AWAITING_KEY, SERVING
from mantlet.client import chat
from mantlet.edge.attack import escape, escape_probes, escape_programs
from mantlet.edge.attack.escape import Attempt, Family, Outcome
from mantlet.edge.attack.guest_memory import GuestMemory
from mantlet.edge.attack.hostile_models import hostile
from mantlet.edge.machine import Line, Machine
from tests.vm.rig import BOOT_SECONDS, Rig, Said, Site

pytestmark = pytest.mark.vm

ATTEMPTS = {attempt.id: attempt for attempt in (*escape_programs.INSTRUMENTS, *escape_probes.ATTEMPTS)}
# The agent waits for the runtime as long as its declaration says, which is for large models.
END_SECONDS = 900.0


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What a taken runtime did: outcomes by attempt, its answer when it was let go, its crash.

    asked: what a relying party was told in between.
    """

    outcomes: Mapping[str, Outcome]
    answer: str
    asked: Said
    crash: tuple[str, ...]
    on: bool
    lines: tuple[Line, ...]
    said: bytes
    deployment_changed: bool


@pytest.fixture(scope="session")
def taken(rig: Rig, sealed: Site) -> Iterator[Taken]:
    # Unix sockets have short names only.
    with tempfile.TemporaryDirectory(prefix="mantlet-") as name:
        folder = Path(name)
        site = sealed.copy(folder)
        words = tuple(word.replace(FOLDER, name) for word in runtime.HANDS.words)
        machine = rig.boot(site, replace(rig.hardware(site), extra=words, extra_folders=(folder,)))
        machine.wait_for(SERVING, seconds=BOOT_SECONDS)
        before, volume = machine.serial.read_bytes(), site.deployment.read_bytes()

        code = escape_probes.library(rig.built, rig.tools, folder / "root")
        with escape_probes.taken(machine, folder, code) as captive:
            outcomes = escape.run(captive, tuple(ATTEMPTS.values()))
        with rig.connect(machine) as connection:
            answer = "".join(chat.ask(connection, "Hello", model="tiny", max_tokens=2))
        asked = rig.run("ask", f"https://127.0.0.1:{machine.port}", "Hello", *rig.trust())
        with escape_probes.taken(machine, folder, code) as captive:
            crash = escape_probes.crash(machine, captive, folder)
        yield Taken(
            outcomes=outcomes,
            answer=answer,
            asked=asked,
            crash=crash,
            on=machine.is_on(),
            lines=machine.lines(),
            said=machine.serial.read_bytes()[len(before) :],
            deployment_changed=site.deployment.read_bytes() != volume,
        )
        rig.power_off()


@pytest.mark.parametrize("attempt", [each for each in ATTEMPTS.values() if each.family is Family.INSTRUMENT])
def test_a_taken_runtime_can_do_what_every_process_can(taken: Taken, attempt: Attempt) -> None:
    assert taken.outcomes[attempt.id].succeeded, taken.outcomes[attempt.id].found


@pytest.mark.parametrize(
    "id_", [each.id for each in ATTEMPTS.values() if each.family is not Family.INSTRUMENT]
)
def test_a_taken_runtime_cannot(taken: Taken, id_: str) -> None:
    assert not taken.outcomes[id_].succeeded, taken.outcomes[id_].found


def test_a_runtime_that_was_let_go_answers(taken: Taken) -> None:
    assert taken.answer


def test_the_programs_that_a_taken_runtime_started_burnt_the_fuse(taken: Taken) -> None:
    assert taken.asked.code == 1
    assert "fuse" in taken.asked.story


def test_the_crash_of_a_taken_runtime_ends_the_machine_and_dumps_nothing(taken: Taken) -> None:
    assert not taken.on
    assert taken.crash == ()


def test_a_taken_runtime_says_nothing_on_the_serial_port_and_changes_no_disk(taken: Taken) -> None:
    assert taken.said == b""
    assert taken.lines[-1] == SERVING
    assert not taken.deployment_changed


def test_a_hostile_model_that_ends_its_runtime_at_a_prompt_ends_the_machine(rig: Rig, tmp_path: Path) -> None:
    with booted_with(rig, tmp_path, "a context of four billion") as (machine, memory):
        machine.wait_for(SERVING, seconds=END_SECONDS)
        with escape_probes.prompting(machine):
            machine.wait_until_off(seconds=END_SECONDS)
        assert machine.lines()[-1] == SERVING
        assert list(memory.find(escape_probes.CORE)) == []


@contextmanager
def booted_with(rig: Rig, tmp_path: Path, lie: str) -> Iterator[tuple[Machine, GuestMemory]]:
    """Boot a new machine whose owner packs, signs and seals a hostile model; its memory is in a file."""
    model = tmp_path / "hostile.gguf"
    model.write_bytes(hostile(lie))
    site = rig.site(lie.replace(" ", "-"), model, model_id="tiny")
    with tempfile.TemporaryDirectory(prefix="mantlet-") as name:
        words = tuple(word.replace(FOLDER, name) for word in runtime.HANDS.words)
        machine = rig.boot(site, replace(rig.hardware(site), extra=words, extra_folders=(Path(name),)))
        machine.wait_for(AWAITING_KEY, seconds=BOOT_SECONDS)
        rig.seal(machine, site)
        yield machine, GuestMemory(Path(name) / runtime.MEMORY)
        rig.power_off()
