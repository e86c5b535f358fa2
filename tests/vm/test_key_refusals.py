# SPDX-License-Identifier: Apache-2.0
"""One machine that has its key, and one change to what releases it: documents that it is handed, or its TPM.

As in test_refusals.py, every attack is on a copy of a machine that serves when it is left alone. The verdict
is the TPM's log; the reason is what the machine says. Documents are refused one after the other by one boot
that awaits its key; what is in their slots is refused by the same code, and ends the boot.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from mantlet.cli.boot import AWAITING_KEY, SERVING
from mantlet.client.handover import Status, fetch_status, hand_over
from mantlet.edge import appraisal, project
from mantlet.edge.attack import damage, hand_keys, tpm_owner, tpm_trace
from mantlet.edge.attack.tpm_trace import Trace
from mantlet.edge.machine import Line, Machine
from mantlet.weights.approve import policy_key_public, raise_epoch, sign_policy
from mantlet_measure import epoch, volume
from mantlet_measure.handover import Handover
from mantlet_measure.sealed import policy_reference
from tests.sealing import Owner
from tests.vm.rig import BOOT_SECONDS, PATIENCE, Rig, Site

pytestmark = pytest.mark.vm


def key_of_another_model(given: Handover) -> Handover:
    key = replace(given.sealed_key, model="other", policy_ref=policy_reference("other"))
    return replace(given, sealed_key=key)


def approvals_for_another_purpose(given: Handover) -> Handover:
    return replace(given, approvals=replace(given.approvals, policy_ref=policy_reference("other")))


def key_and_approvals_of_another_owner(given: Handover) -> Handover:
    public = policy_key_public(Owner().policy_key.public_key())
    return Handover(
        sealed_key=replace(given.sealed_key, policy_key=public),
        approvals=replace(given.approvals, policy_key=public),
    )


def approval_signed_for_another_purpose(given: Handover) -> Handover:
    (approval,) = given.approvals.approvals
    signature = sign_policy(
        approval.policy,
        policy_ref=policy_reference("other"),
        policy_key=appraisal.read_policy_key(project.key_folder() / "policy.key"),
    )
    altered = replace(given.approvals, approvals=(replace(approval, signature=signature),))
    return replace(given, approvals=altered)


DOCUMENTS: dict[str, tuple[Callable[[Handover], Handover], str]] = {
    "the sealed key of another model": (key_of_another_model, "sealed-key-foreign"),
    "approvals for another policy reference": (approvals_for_another_purpose, "approvals-foreign"),
    "key and approvals of another policy key": (key_and_approvals_of_another_owner, "policy-key-foreign"),
    "a signature for another policy reference": (approval_signed_for_another_purpose, "sealed-key-refused"),
}
TPMS: dict[str, tuple[str, str]] = {
    "a deleted epoch counter": (tpm_owner.DELETE, "epoch-counter-absent"),
    "an epoch counter created again": (tpm_owner.CREATE_AGAIN, "epoch-counter-foreign"),
    "a cleared TPM": (tpm_owner.CLEAR, "sealed-key-foreign"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Awaiting:
    """The machine with an empty slot, which awaits its key; `own`: what was in it, and its approvals."""

    rig: Rig
    machine: Machine
    own: Handover

    def hand_over(self, given: Handover) -> None:
        with self.rig.connect(self.machine) as connection:
            hand_over(connection, given)

    def status(self) -> Status:
        with self.rig.connect(self.machine) as connection:
            return fetch_status(connection)


@pytest.fixture(scope="module")
def awaiting(rig: Rig, sealed: Site, tmp_path_factory: pytest.TempPathFactory) -> Awaiting:
    site = sealed.copy(tmp_path_factory.mktemp("awaiting"))
    own = hand_keys.handover(site.deployment, rig.tools)
    damage.write_slot(site.deployment, volume.SEALED_KEY_OFFSET, None, rig.tools)
    machine = rig.boot(site)
    machine.wait_for(AWAITING_KEY, seconds=BOOT_SECONDS)
    return Awaiting(rig=rig, machine=machine, own=own)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_machine_that_is_handed_other_documents_releases_no_key(awaiting: Awaiting, name: str) -> None:
    change, code = DOCUMENTS[name]
    awaiting.hand_over(change(awaiting.own))
    deadline = time.monotonic() + PATIENCE
    while (status := awaiting.status()) != Status(stage="unseal", code=code):
        assert time.monotonic() < deadline, status
    assert tpm_trace.SUCCESS not in Trace(awaiting.machine.trace).results(tpm_trace.UNSEAL)


def test_the_same_machine_serves_once_it_is_handed_its_own(awaiting: Awaiting) -> None:
    awaiting.hand_over(awaiting.own)
    awaiting.machine.wait_for(SERVING, seconds=BOOT_SECONDS)
    assert Trace(awaiting.machine.trace).results(tpm_trace.UNSEAL).count(tpm_trace.SUCCESS) == 1


@pytest.mark.parametrize("name", TPMS)
def test_no_key_is_released_with(rig: Rig, sealed: Site, tmp_path: Path, name: str) -> None:
    action, code = TPMS[name]
    site = sealed.copy(tmp_path)
    key = hand_keys.handover(site.deployment, rig.tools).sealed_key
    tpm_owner.own(site.folder / "tpm", action, policy_key=key.policy_key, tools=rig.tools)
    machine = rig.boot(site)
    machine.wait_until_off(seconds=BOOT_SECONDS)
    assert machine.lines()[-1] == Line("unseal", code)
    assert Trace(machine.trace).results(tpm_trace.UNSEAL).count(tpm_trace.SUCCESS) == 0


def test_a_raised_epoch_withdraws_the_release_that_the_machine_served_before(
    rig: Rig, sealed: Site, tmp_path: Path
) -> None:
    site = sealed.copy(tmp_path)
    key = appraisal.read_policy_key(project.key_folder() / "policy.key")
    statement = epoch.encode(raise_epoch(2, policy_key=key))
    damage.write_slot(site.deployment, volume.EPOCH_OFFSET, statement, rig.tools)
    machine = rig.boot(site)
    machine.wait_for(SERVING, seconds=BOOT_SECONDS)
    with rig.connect(machine) as connection:
        while (status := fetch_status(connection)) == Status(stage="serve", code="ok"):
            assert machine.is_on()
    assert status == Status(stage="serve", code="epoch-raised")
    machine = rig.boot(site)
    machine.wait_until_off(seconds=BOOT_SECONDS)
    assert machine.lines()[-1] == Line("unseal", "epoch-past")
    assert Trace(machine.trace).results(tpm_trace.UNSEAL) == []
