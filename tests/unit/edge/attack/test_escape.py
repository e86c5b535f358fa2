# SPDX-License-Identifier: Apache-2.0
"""The attempts, made by a process that nothing confines: what nothing forbids succeeds, and is seen to.

Only attempts that do no harm here are made; all of them meet the weakened image in the battery.
"""

from collections import Counter

import pytest

from mantlet.attack.catalogue import runtime
from mantlet.edge import operator_access
from mantlet.edge.attack import escape, escape_probes, escape_programs
from mantlet.edge.attack.escape import Attempt, Family, Outcome
from mantlet.edge.attack.escape_process import Captive

ATTEMPTS = {attempt.id: attempt for attempt in escape_probes.ATTEMPTS}
HARMLESS = (
    *("execute from /tmp", "execute from /var/tmp", "execute a memory file"),
    *("map a memory file as code", "map writable code", "map anonymous code"),
    *("make written memory executable", "map shared memory as code", "see other processes"),
    "socket for IPv4",
)


@pytest.mark.parametrize("id_", HARMLESS)
def test_an_attempt_that_nothing_forbids_succeeds(captive: Captive, id_: str) -> None:
    outcome = ATTEMPTS[id_].perform(captive)
    assert outcome.succeeded, outcome.found


def test_an_attempt_at_what_is_not_there_is_refused(captive: Captive) -> None:
    outcome = ATTEMPTS["read /run/mantlet/private/tls.key"].perform(captive)
    assert outcome == Outcome(succeeded=False, found="ENOENT")


def test_no_two_attempts_have_one_name() -> None:
    every = Counter(each.id for each in (*escape_programs.INSTRUMENTS, *escape_probes.ATTEMPTS))
    assert [name for name, count in every.items() if count > 1] == []


def test_each_attempt_tests_rules_that_name_its_attack_or_are_named_beside_one() -> None:
    known = {rule.id: rule for group in operator_access.read().groups for rule in group.rules}
    for attempt in escape_probes.ATTEMPTS:
        assert attempt.rules, attempt.id
        assert set(attempt.rules) <= known.keys(), attempt.id


@pytest.mark.parametrize("family", [each for each in Family if each is not Family.INSTRUMENT])
def test_every_rule_of_an_attack_has_an_attempt(family: Family) -> None:
    named = {
        rule.id for group in operator_access.read().groups for rule in group.rules if rule.attack == family
    }
    tried = {rule for each in escape_probes.ATTEMPTS if each.family is family for rule in each.rules}
    assert named
    assert named - tried == set()


def test_every_probe_of_the_catalogue_is_one_that_can_be_made() -> None:
    wanted = {probe for attack in runtime.ATTACKS if attack.group == runtime.GROUP for probe in attack.probes}
    assert wanted == escape_probes.PROBES.keys()


def test_a_failing_instrument_is_told_and_no_breach_is() -> None:
    def attempt(family: Family) -> Attempt:
        return Attempt(
            id=family, family=family, rules=(), perform=lambda _: Outcome(succeeded=True, found="")
        )

    attempts = [attempt(Family.INSTRUMENT), attempt(Family.ESCAPE)]
    outcomes = {
        Family.INSTRUMENT: Outcome(succeeded=False, found="EPERM"),
        Family.ESCAPE: Outcome(succeeded=True, found="it is open"),
    }
    assert [each.id for each in escape.failed_instruments(attempts, dict(outcomes))] == ["instrument"]
    assert [each.id for each in escape.breaches(attempts, dict(outcomes))] == ["runtime-escape"]
