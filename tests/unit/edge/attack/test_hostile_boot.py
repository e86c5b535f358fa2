# SPDX-License-Identifier: Apache-2.0
"""A machine that does not take a hostile model's key was not attacked, and the other attacks go on."""

from typing import cast

from mantlet.attack import catalogue, judge
from mantlet.attack.catalogue.runtime import MEMORY
from mantlet.attack.judge import Verdict
from mantlet.attack.observation import End, Observation
from mantlet.edge.attack import hostile_boot
from mantlet.edge.bench.provisioning import Provisioning
from mantlet.edge.machine import BootError, Machine


class Stuck:
    """A machine that does not come to where it is wanted."""

    def wait_for(self, line: object, *, seconds: float) -> None:
        raise BootError(f"expected awaiting-key within {seconds} s, found weights ok", hint="wait")


def test_a_machine_that_was_not_provisioned_makes_the_attack_not_run() -> None:
    not_run = hostile_boot._provision(cast(Machine, Stuck()), cast(Provisioning, None), 7.0)
    reason = "the machine was not provisioned: expected awaiting-key within 7.0 s, found weights ok"
    assert not_run == {MEMORY: reason}
    for attack in catalogue.chosen(only=["hostile-model"]):
        judged = judge.judge(attack, Observation(end=End.ON, seconds=7.0, not_run=not_run))
        assert (judged.verdict, judged.reasons) == (Verdict.NOT_RUN, (reason,))
