# SPDX-License-Identifier: Apache-2.0
"""The catalogue: each attack has a rule and each rule's attack is here; what shares a boot can share it."""

from collections import Counter

import pytest

from mantlet.attack.catalogue import CATALOGUE, boots, chosen, runtime
from mantlet.attack.catalogue.credentials import mark
from mantlet.attack.changes import Damage, Deployment, FwCfg, Replay, Shell, Smbios, Store, Tpm, Weights
from mantlet.attack.model import Attack, Control
from mantlet.edge import operator_access
from mantlet.edge.attack import after, probes

# Part V of the catalogue of ways in, and what else every release is attacked with.
AT_LEAST = 40


def test_every_attack_that_a_rule_names_is_in_the_catalogue_and_no_attack_is_without_a_rule() -> None:
    named = {rule.attack for rule in operator_access.read().rules if rule.attack is not None}
    assert {attack.name for attack in CATALOGUE} == named


def test_there_are_as_many_attacks_as_were_asked_for_and_each_id_stands_once() -> None:
    assert len(CATALOGUE) >= AT_LEAST
    assert [name for name, count in Counter(attack.id for attack in CATALOGUE).items() if count > 1] == []


@pytest.mark.parametrize("attack", CATALOGUE, ids=lambda attack: attack.id)
def test_an_attack_does_something_that_can_be_carried_out(attack: Attack) -> None:
    assert attack.changes or attack.probes or attack.control is Control.LIMIT
    # A hostile model is booted by a module of its own, which looks at its memory.
    assert set(attack.probes) <= {*probes.PROBES, *after.PROBES, runtime.MEMORY}
    assert attack.sign.words
    assert (attack.control is Control.OPENED) == bool(attack.opening)


def test_a_rule_of_what_is_not_claimed_has_a_limit_and_no_other_rule_has() -> None:
    limits = {attack.name for attack in CATALOGUE if attack.control is Control.LIMIT}
    for rule in operator_access.read().rules:
        if rule.attack is not None:
            assert (rule.closure is None) == (rule.attack in limits), rule.id


def test_attacks_that_harm_the_machine_have_a_boot_of_their_own() -> None:
    harm = (Damage, Deployment, Replay, Shell, Store, Tpm, Weights)
    shared = [attack for attack in CATALOGUE if attack.group is not None]
    assert [a.id for a in shared if any(isinstance(change, harm) for change in a.changes)] == []
    assert all(len([a for a in group if a.group is None]) in (0, 1) for group in boots(CATALOGUE))


def test_every_payload_of_a_credential_has_a_mark_of_its_own() -> None:
    payloads = [
        change.content if isinstance(change, FwCfg) else change.text.encode()
        for attack in CATALOGUE
        for change in attack.changes
        if isinstance(change, FwCfg | Smbios)
    ]
    for attack in CATALOGUE:
        told = [payload for payload in payloads if mark(attack.id).encode() in payload]
        assert len(told) <= 1, attack.id
    assert len(
        {name for a in CATALOGUE for c in a.changes if isinstance(c, FwCfg) for name in (c.name,)}
    ) == len([c for a in CATALOGUE for c in a.changes if isinstance(c, FwCfg)])


def test_a_name_in_fw_cfg_is_as_long_as_qemu_takes_it() -> None:
    names = [change.name for a in CATALOGUE for change in a.changes if isinstance(change, FwCfg)]
    assert names
    assert max(map(len, names)) <= 55


def test_attacks_are_chosen_by_id_by_the_rules_name_and_by_speed() -> None:
    assert [attack.id for attack in chosen(only=("nmi",))] == ["nmi"]
    by_name = chosen(only=("root-data-corrupted",))
    assert len(by_name) > 3
    assert {attack.name for attack in by_name} == {"root-data-corrupted"}
    assert {attack.id for attack in chosen(fast=True)} < {attack.id for attack in CATALOGUE}
    assert chosen() == CATALOGUE


def test_attacks_of_one_group_share_a_boot_and_all_others_have_their_own() -> None:
    gathered = boots(CATALOGUE)
    assert sum(map(len, gathered)) == len(CATALOGUE)
    groups = [group[0].group for group in gathered if group[0].group is not None]
    assert len(groups) == len(set(groups))
