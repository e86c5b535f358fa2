# SPDX-License-Identifier: Apache-2.0
"""What `mantlet attack` says of its own pace."""

from dataclasses import replace

from mantlet.attack import catalogue
from mantlet.cli import attack
from tests.unit.release.runs import run_of

DIGEST = "0" * 64
RUN = run_of("mantlet", "1", DIGEST, attacks=catalogue.CATALOGUE[:2])


def test_an_attack_is_measured_in_plain_boots_and_its_control_beside_it() -> None:
    quick, slow = RUN.outcomes
    took = replace(RUN, plain_seconds=40, outcomes=(quick, replace(slow, seconds=53)))
    said = list(attack._pace(took))
    assert said[0] == "30 s an attack, 0.75 plain boots of 40 s; its control and judgement 9 s more"
    assert said[1:] == [f"more than 1.3 plain boots: {slow.id}"]
    assert len(list(attack._pace(RUN))) == 1
