# SPDX-License-Identifier: Apache-2.0
"""One machine that has its key, and one change to what releases it: documents on its volume, or its TPM.

As in test_refusals.py, every attack boots a copy of a machine that serves when it is left alone. The verdict
is the TPM's log; the reason is the machine's last line.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mantlet.cli.boot import SERVING
from mantlet.client.handover import Status, fetch_status
from mantlet.edge import appraisal, project
from mantlet.edge.attack import damage, tpm_owner, tpm_trace
from mantlet.edge.attack.tpm_trace import Trace
from mantlet.edge.machine import Line
from mantlet.weights.approve import policy_key_public, raise_epoch, sign_policy
from mantlet_measure import approvals, epoch, sealed, volume
from mantlet_measure.approvals import Approvals
from mantlet_measure.sealed import SealedKey, policy_reference
from tests.sealing import Owner
from tests.vm.rig import BOOT_SECONDS, Rig, Site

pytestmark = pytest.mark.vm


def change_key(rig: Rig, site: Site, change: Callable[[SealedKey], SealedKey]) -> None:
    before = damage.read_slot(site.deployment, volume.SEALED_KEY_OFFSET, rig.tools)
    after = sealed.encode(change(sealed.decode(before)))
    damage.write_slot(site.deployment, volume.SEALED_KEY_OFFSET, after, rig.tools)


def change_approvals(rig: Rig, site: Site, change: Callable[[Approvals], Approvals]) -> None:
    before = damage.read_slot(site.deployment, volume.APPROVALS_OFFSET, rig.tools)
    after = approvals.encode(change(approvals.decode(before)))
    damage.write_slot(site.deployment, volume.APPROVALS_OFFSET, after, rig.tools)


def key_of_another_model(rig: Rig, site: Site) -> None:
    change_key(rig, site, lambda key: replace(key, model="other", policy_ref=policy_reference("other")))


def approvals_for_another_purpose(rig: Rig, site: Site) -> None:
    change_approvals(rig, site, lambda listed: replace(listed, policy_ref=policy_reference("other")))


def key_and_approvals_of_another_owner(rig: Rig, site: Site) -> None:
    stranger = Owner()
    public = policy_key_public(stranger.policy_key.public_key())
    change_key(rig, site, lambda key: replace(key, policy_key=public))
    change_approvals(rig, site, lambda listed: replace(listed, policy_key=public))


def approval_signed_for_another_purpose(rig: Rig, site: Site) -> None:
    def change(listed: Approvals) -> Approvals:
        (approval,) = listed.approvals
        signature = sign_policy(
            approval.policy,
            policy_ref=policy_reference("other"),
            policy_key=appraisal.read_policy_key(project.key_folder() / "policy.key"),
        )
        return replace(listed, approvals=(replace(approval, signature=signature),))

    change_approvals(rig, site, change)


def attack_tpm(action: str) -> Callable[[Rig, Site], None]:
    def change(rig: Rig, site: Site) -> None:
        key = sealed.decode(damage.read_slot(site.deployment, volume.SEALED_KEY_OFFSET, rig.tools))
        tpm_owner.own(site.folder / "tpm", action, policy_key=key.policy_key, tools=rig.tools)

    return change


ATTACKS: dict[str, tuple[Callable[[Rig, Site], None], str]] = {
    "the sealed key of another model": (key_of_another_model, "sealed-key-foreign"),
    "approvals for another policy reference": (approvals_for_another_purpose, "approvals-foreign"),
    "key and approvals of another policy key": (key_and_approvals_of_another_owner, "policy-key-foreign"),
    "a signature for another policy reference": (approval_signed_for_another_purpose, "sealed-key-refused"),
    "a deleted epoch counter": (attack_tpm(tpm_owner.DELETE), "epoch-counter-absent"),
    "an epoch counter created again": (attack_tpm(tpm_owner.CREATE_AGAIN), "epoch-counter-foreign"),
    "a cleared TPM": (attack_tpm(tpm_owner.CLEAR), "sealed-key-foreign"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_no_key_is_released_with(rig: Rig, sealed: Site, tmp_path: Path, name: str) -> None:
    change, code = ATTACKS[name]
    site = sealed.copy(tmp_path)
    change(rig, site)
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
