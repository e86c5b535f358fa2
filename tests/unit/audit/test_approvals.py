# SPDX-License-Identifier: Apache-2.0
"""What an approval is over is found by computing it, and one that is over too little is a finding."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from mantlet.audit.checks import CHECKS
from mantlet.audit.finding import Policy
from mantlet.edge import audited_approvals
from mantlet.edge.audited_approvals import Given
from mantlet.weights.approve import approve, boot_policy, merged, policy_key_public
from mantlet.weights.policy import pcr_policy
from mantlet_measure import approvals, dsse
from mantlet_measure.approvals import Approvals, Image
from mantlet_measure.epoch_counter import EpochCounter
from mantlet_measure.errors import MantletError, UnavailableError
from mantlet_measure.evidence import State
from mantlet_measure.pcr import ENFORCED, Bank
from mantlet_measure.policy import START
from tests.authority import Authority
from tests.machine import RUNTIME, Machine
from tests.unit.audit.images import image

Registers = Mapping[Bank, Mapping[int, bytes]]
OLDER = Image(id="mantlet", version="1.0.0")


@pytest.fixture
def machine() -> Machine:
    """A machine before the cap, whose registers are what is approved."""
    made = Machine(authority=Authority())
    made.state, made.capped = State.AWAITING_KEY, False
    return made


def this(machine: Machine) -> Image:
    """The image that the machine boots, as an approval names it."""
    told = audited_approvals.manifest.decode(machine.manifest).image
    return Image(id=told.id, version=told.version)


def full(machine: Machine, *, named: Image | None = None, epoch: int = 1) -> Approvals:
    """The approval that `mantlet release approve` gives."""
    return approve(
        machine.registers,
        model_id="tiny",
        epoch=epoch,
        image=named or this(machine),
        policy_key=machine.policy_key,
    )


def over(machine: Machine, policy: bytes, *, named: Image | None = None) -> Approvals:
    """An approval of another policy."""
    whole = full(machine, named=named)
    return dataclasses.replace(whole, approvals=(dataclasses.replace(whole.approvals[0], policy=policy),))


def public(machine: Machine) -> bytes:
    """The policy key as a TPM has it."""
    return policy_key_public(machine.policy_key.public_key())


def read(machine: Machine, given: Approvals, folder: Path) -> tuple[audited_approvals.Approval, ...]:
    """What is said of approvals that are given with the machine's deployment."""
    assert machine.envelope is not None
    for name, content in (
        ("approvals", approvals.encode(given)),
        ("deployment", dsse.encode(machine.envelope)),
        ("runtime", RUNTIME),
    ):
        (folder / name).write_bytes(content)
    return audited_approvals.read(
        Given(
            approvals=folder / "approvals", deployments=(folder / "deployment",), runtime=folder / "runtime"
        ),
        machine.manifest,
    )


def found(machine: Machine, given: Approvals, folder: Path) -> list[str]:
    """The subjects of the findings about them."""
    looked_at = image(approvals=read(machine, given, folder))
    return [item.subject for item in CHECKS["sealing-policy"](looked_at, Policy())]


def test_an_approval_over_every_register_and_the_counter_is_no_finding(
    machine: Machine, tmp_path: Path
) -> None:
    (told,) = read(machine, full(machine), tmp_path)
    assert (told.registers, told.epoch, told.bound) == (ENFORCED, 1, 1)
    assert found(machine, full(machine), tmp_path) == []


@pytest.mark.parametrize("register", ENFORCED)
def test_an_approval_without_a_register_is_a_finding_that_names_it(
    machine: Machine, tmp_path: Path, register: int
) -> None:
    rest = [item for item in ENFORCED if item != register]
    narrow = boot_policy(machine.registers, rest, epoch=1, policy_key=public(machine))
    name = f"approval 1 of {this(machine).id} {this(machine).version}"
    assert found(machine, over(machine, narrow), tmp_path) == [f"{name} PCR {register}"]


OTHERS: dict[str, tuple[Callable[[Machine], bytes], str]] = {
    "without the counter": (lambda machine: pcr_policy(machine.registers, ENFORCED), " epoch"),
    "over other values": (
        lambda machine: boot_policy(
            {bank: {**held, 11: bytes(bank.size)} for bank, held in machine.registers.items()},
            ENFORCED,
            epoch=1,
            policy_key=public(machine),
        ),
        "",
    ),
    "of another key's counter": (
        lambda machine: boot_policy(
            machine.registers,
            ENFORCED,
            epoch=1,
            policy_key=public(Machine(authority=machine.authority)),
        ),
        "",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_an_approval_of_another_policy_is_a_finding(machine: Machine, tmp_path: Path, name: str) -> None:
    policy, subject = OTHERS[name]
    called = f"approval 1 of {this(machine).id} {this(machine).version}"
    assert found(machine, over(machine, policy(machine)), tmp_path) == [f"{called}{subject}"]


def test_an_approval_beyond_the_epoch_of_the_image_is_a_finding(machine: Machine, tmp_path: Path) -> None:
    (subject,) = found(machine, full(machine, epoch=2), tmp_path)
    assert subject.endswith(" epoch")


def test_attack_by_an_approval_that_names_another_image_is_seen_when_it_opens_this_one(
    machine: Machine, tmp_path: Path
) -> None:
    counter = EpochCounter(policy_key=public(machine)).at_most(1, START)
    told = found(machine, over(machine, counter, named=OLDER), tmp_path)
    assert told == [
        f"approval 1 of mantlet 1.0.0 PCR {register}" for register in (12, 11, 7, 4, 9, 13, 14, 15)
    ]


def test_approvals_of_other_releases_are_left_to_their_audits(machine: Machine, tmp_path: Path) -> None:
    older = over(machine, bytes(32), named=OLDER)
    (told,) = read(machine, merged(older, full(machine)), tmp_path)
    assert told.name == f"approval 1 of {this(machine).id} {this(machine).version}"
    with pytest.raises(UnavailableError, match=r"found those for mantlet 1\.0\.0"):
        read(machine, older, tmp_path)


def test_files_that_do_not_belong_together_are_refused(machine: Machine, tmp_path: Path) -> None:
    stranger = Machine(authority=machine.authority)
    with pytest.raises(MantletError, match="expected one of the policy key"):
        read(machine, full(stranger), tmp_path)
    other = dataclasses.replace(full(machine), policy_ref="mantlet/weights/other")
    with pytest.raises(MantletError, match="expected one of the policy reference"):
        read(machine, other, tmp_path)
    read(machine, full(machine), tmp_path)
    given = Given(approvals=tmp_path / "approvals", deployments=(tmp_path / "deployment",))
    another = Machine(authority=machine.authority, firmware=machine.firmware[:-1])
    with pytest.raises(MantletError, match="expected one of the manifest"):
        audited_approvals.read(dataclasses.replace(given, runtime=tmp_path / "runtime"), another.manifest)
