# SPDX-License-Identifier: Apache-2.0
"""The quick subset of the attacks: each fails on the production image, and each control gives way.

What is asserted is the battery's own document; that its judgement is right is tests/unit/attack's matter. The
weakened build is `mantlet build --profile debug`.
"""

import json

import pytest
from jsonschema import Draft202012Validator

from mantlet import cli
from mantlet.attack import catalogue, document
from mantlet.attack.catalogue import ports
from mantlet.attack.document import Results
from mantlet.attack.judge import Verdict
from mantlet.attack.model import Control
from mantlet.edge import project
from mantlet.edge.image import Build

pytestmark = pytest.mark.vm


@pytest.fixture(scope="session")
def results(built: Build, debug_built: Build, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The results of one run of the quick subset, by the verb as it is typed."""
    target = tmp_path_factory.mktemp("attacks") / "attacks.json"
    words = [
        "attack",
        str(built.directory),
        "--weakened",
        str(debug_built.directory),
        "--fast",
        "--jobs",
        "1",
    ]
    code = cli.main([*words, "--output", str(target)], environ={})
    assert target.exists(), f"the verb ended with {code} and told why: see what was captured"
    results = document.decode(target.read_bytes())
    Draft202012Validator(
        json.loads((project.root() / "policies" / "schema" / "attacks.json").read_text())
    ).validate(document.to_value(results))
    refused = [each for each in results.outcomes if each.verdict in (Verdict.BREACH, Verdict.VOID)]
    assert code == (1 if refused else 0 if results.accepted else 3)
    return results


@pytest.mark.parametrize("attack", [attack.id for attack in catalogue.chosen(fast=True)])
def test_an_attack_fails_and_would_have_been_seen(results: Results, attack: str) -> None:
    (outcome,) = [each for each in results.outcomes if each.id == attack]
    assert outcome.verdict.accepted, (outcome.reasons, outcome.facts, outcome.control_facts)
    assert (outcome.control_verdict is Verdict.BREACH) == (outcome.control != Control.LIMIT)


def test_what_is_plugged_in_moves_no_enforced_register(results: Results) -> None:
    shared = {attack.id for attack in catalogue.chosen(fast=True) if attack.group == ports.GROUP}
    facts = {each.id: each.facts for each in results.outcomes if each.id in shared}
    assert facts.keys() == shared
    assert [id_ for id_, told in facts.items() if "registers moved: none" not in told] == []
