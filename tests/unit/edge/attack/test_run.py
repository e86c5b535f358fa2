# SPDX-License-Identifier: Apache-2.0
"""The order of a run: one boot for what shares one, a control for each kind, results that are taken up again.

No machine is booted: what a boot would show is given.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from mantlet.attack import signs
from mantlet.attack.changes import Store
from mantlet.attack.document import Outcome
from mantlet.attack.judge import Verdict
from mantlet.attack.model import Attack, Control
from mantlet.attack.observation import End, Observation
from mantlet.edge.accelerator import Accelerator
from mantlet.edge.attack import kept, run
from mantlet.edge.attack.boot import Plan, Seen
from mantlet.edge.attack.run import Battery, by_attack
from mantlet.edge.attack.stand import Stand
from mantlet.edge.image import Build
from mantlet.edge.keys import KeyFolder
from mantlet.edge.tools import ToolsTree
from mantlet_measure.pcr import BANKS

QUIET = Observation(end=End.SERVING, seconds=40.0, unseal=(0,))
LOUD = replace(QUIET, heard={"serial2": b"one two"})
REGISTERS = {bank: {number: bytes(bank.size) for number in range(16)} for bank in BANKS}


def attack(name: str, **changed: object) -> Attack:
    made = Attack(
        id=name,
        name=name,
        title=f"Attack {name}",
        sign=signs.said(name, words=f"it says {name}"),
        control=Control.WEAKENED_BUILD,
        group="shared",
    )
    return replace(made, **changed)  # type: ignore[arg-type]  # any member


ONE, TWO = attack("one"), attack("two")
ALONE = attack("alone", control=Control.APPROVED_ANYTHING, sign=signs.released(), releases=False, group=None)


class Host:
    """A host that boots nothing and shows what it was told; it keeps the plans that it was given."""

    def __init__(self) -> None:
        self.plans: list[Plan] = []

    def observe(self, plan: Plan) -> Seen:
        self.plans.append(plan)
        if plan.signed is not None:
            return Seen(observation=QUIET, registers=REGISTERS)
        if Store.SECURE_BOOT_OFF in plan.changes:
            return Seen(observation=replace(QUIET, end=End.OFF, unseal=(0x99D,)), registers=REGISTERS)
        weak = plan.stand.folder.name == "weakened"
        return Seen(observation=LOUD if weak else QUIET, registers=REGISTERS)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host()
    monkeypatch.setattr(run, "observe", host.observe)
    return host


@pytest.fixture
def battery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Battery:
    # The attacks here are of no family; what the source has to do with it is test_kept's matter.
    monkeypatch.setattr(kept, "source_sha256", lambda attack: attack.id)
    stands = []
    for name in ("production", "weakened"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "measurements.json").write_text(name)
        (folder / "provisioned").write_text("40.0")
        stands.append(
            Stand(
                built=Build(directory=folder),
                keys=KeyFolder(tmp_path / "keys"),
                tools=ToolsTree(tmp_path),
                accelerator=Accelerator.TCG,
                folder=folder,
            )
        )
    production, weakened = stands
    return Battery(
        production=production, weakened=weakened, folder=tmp_path / "results", rules={"one": ("A01", "A02")}
    )


def ran(battery: Battery, *attacks: Attack, resume: bool = False) -> tuple[Outcome, ...]:
    return battery.run(attacks, resume=resume, jobs=1)


def test_attacks_of_a_group_share_one_boot_and_one_control(battery: Battery, host: Host) -> None:
    one, two = ran(battery, ONE, TWO)
    assert [plan.stand.folder.name for plan in host.plans] == ["weakened", "production"]
    assert (one.verdict, one.control_verdict, one.rules) == (Verdict.INERT, Verdict.BREACH, ("A01", "A02"))
    assert two.control_facts[0] == "serial2 said two"
    # Half of the boot under attack each; the control is beside it.
    assert (one.seconds, two.seconds) == (20, 20)


def test_a_control_that_does_not_show_the_sign_makes_the_attack_void(battery: Battery, host: Host) -> None:
    (outcome,) = ran(battery, attack("three"))
    assert outcome.verdict is Verdict.VOID
    assert outcome.reasons == ("the control did not show it: it says three (where: the weakened build)",)


def test_the_policy_key_signs_the_registers_of_the_attacked_boot_for_the_control(
    battery: Battery, host: Host
) -> None:
    (outcome,) = ran(battery, replace(ALONE, changes=(Store.SECURE_BOOT_OFF,)))
    assert [plan.signed for plan in host.plans] == [None, REGISTERS]
    assert (outcome.verdict, outcome.control_verdict) == (Verdict.FAIL_CLOSED, Verdict.BREACH)


def test_what_the_weakened_build_measured_is_signed_for_a_control_that_needs_both(
    battery: Battery, host: Host
) -> None:
    both = replace(ALONE, control=Control.WEAKENED_APPROVED, changes=(Store.SECURE_BOOT_OFF,), stands=True)
    (outcome,) = ran(battery, both)
    weak = [(plan.stand.folder.name, plan.signed) for plan in host.plans]
    assert weak == [("production", None), ("weakened", None), ("weakened", REGISTERS)]
    assert outcome.control_verdict is Verdict.BREACH


def test_a_machine_that_may_stand_still_is_watched_for_little_more_than_a_boot(
    battery: Battery, host: Host
) -> None:
    ran(battery, replace(ALONE, stands=True), ONE)
    still, *_, patient = (plan.bound for plan in host.plans)
    assert still == pytest.approx(1.25 * 40.0)
    assert patient > 2 * still


STUCK = Seen(observation=replace(QUIET, end=End.ON, unseal=()), registers=REGISTERS, stuck=True)


def test_a_boot_that_never_left_the_firmware_is_made_once_more(
    battery: Battery, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = [STUCK, STUCK]

    def first_stuck(plan: Plan) -> Seen:
        # The control's first boot, and the attacked one's.
        seen = host.observe(plan)
        return waiting.pop() if waiting and len(host.plans) in (1, 3) else seen

    monkeypatch.setattr(run, "observe", first_stuck)
    (outcome,) = ran(battery, ONE)
    assert [plan.stand.folder.name for plan in host.plans] == [*["weakened"] * 2, *["production"] * 2]
    assert (outcome.verdict, outcome.control_verdict) == (Verdict.INERT, Verdict.BREACH)
    for facts in (outcome.facts, outcome.control_facts):
        assert "firmware: it started nothing in a first boot" in facts


def test_a_boot_that_stays_in_the_firmware_again_or_may_stay_there_is_judged_as_it_is(
    battery: Battery, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "observe", lambda plan: (host.observe(plan), STUCK)[1])
    (outcome,) = ran(battery, ONE)
    assert (len(host.plans), outcome.verdict) == (4, Verdict.BREACH)
    host.plans.clear()
    ran(battery, replace(ONE, stands=True))
    assert len(host.plans) == 2


def test_a_finished_attack_is_taken_up_again_and_only_when_asked(battery: Battery, host: Host) -> None:
    first = ran(battery, ONE, TWO)
    host.plans.clear()
    assert ran(battery, ONE, TWO, resume=True) == first
    assert host.plans == []
    ran(battery, ONE)
    assert len(host.plans) == 2


def test_a_result_of_another_build_is_not_taken_up(battery: Battery, host: Host) -> None:
    ran(battery, ONE)
    (battery.weakened.folder / "measurements.json").write_text("another")
    host.plans.clear()
    ran(battery, ONE, resume=True)
    assert len(host.plans) == 2


def test_a_control_ends_when_every_sign_has_shown_and_says_how_long_the_sealed_machine_is_watched(
    battery: Battery, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(plan: Plan) -> Seen:
        plan.pace.took["a probe"] = 20.0
        return host.observe(plan)

    monkeypatch.setattr(run, "observe", slow)
    ran(battery, ONE, TWO)
    weak, sealed = host.plans
    assert [weak.until(each) for each in (QUIET, replace(QUIET, heard={"serial2": b"one"}), LOUD)] == [
        False,
        False,
        True,
    ]
    assert not sealed.until(LOUD)
    assert sealed.pace.limits == {"a probe": 2 * 20.0}


def test_what_could_not_be_tried_is_tried_again_and_needs_nothing_signed(
    battery: Battery, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def untried(plan: Plan) -> Seen:
        host.plans.append(plan)
        return Seen(observation=replace(QUIET, not_run={"p": "no device"}), registers=REGISTERS)

    monkeypatch.setattr(run, "observe", untried)
    for _ in range(2):
        (outcome,) = ran(battery, replace(ALONE, probes=("p",)), resume=True)
        assert (outcome.verdict, outcome.reasons) == (Verdict.NOT_RUN, ("no device",))
    assert [plan.signed for plan in host.plans] == [None, None]


def test_rules_are_gathered_by_the_attack_that_they_name() -> None:
    named = [("A01", "one"), ("A02", None), ("B01", "two"), ("B02", "one")]
    assert by_attack(named) == {"one": ("A01", "B02"), "two": ("B01",)}
