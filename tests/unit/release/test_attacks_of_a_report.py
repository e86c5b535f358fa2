# SPDX-License-Identifier: Apache-2.0
"""From a run of the battery to the attacks of a report; what is put in, and what is refused."""

import dataclasses
import json
from pathlib import Path

import jsonschema
import pytest

from mantlet.attack import catalogue, document
from mantlet.attack.document import Results
from mantlet.edge import release_attacks
from mantlet.release.attack_results import Verdict
from mantlet.release.build import ReleasedImage
from mantlet_measure.errors import DecodeError, MantletError
from tests.unit.release.runs import DIGEST, RULES, run_of

SCHEMA = Path(__file__).parents[3] / "policies" / "schema" / "attacks.json"
RUN = run_of("mantlet", "1", DIGEST)
IMAGE = ReleasedImage(id="mantlet", version="1", epoch=1)


def read(run: Results, folder: Path) -> release_attacks.Attacked:
    (folder / "attacks.json").write_bytes(document.encode(run))
    return release_attacks.read(folder / "attacks.json", rules=RULES)


def test_a_run_matches_its_json_schema() -> None:
    schema = json.loads(SCHEMA.read_bytes())
    jsonschema.Draft202012Validator(schema).validate(json.loads(document.encode(RUN)))


def test_each_attack_is_taken_with_its_rules_and_control_and_without_its_time(tmp_path: Path) -> None:
    taken = read(RUN, tmp_path)
    assert [attack.id for attack in taken.attacks] == sorted(known.id for known in catalogue.CATALOGUE)
    by_id = {outcome.id: outcome for outcome in RUN.outcomes}
    for attack in taken.attacks:
        outcome = by_id[attack.id]
        assert attack.verdict.value == outcome.verdict.value
        assert (attack.facts, attack.control.facts) == (outcome.facts, outcome.control_facts)
        assert sorted(outcome.rules) == list(attack.rules)
    slower = tuple(dataclasses.replace(outcome, seconds=99) for outcome in RUN.outcomes)
    assert read(dataclasses.replace(RUN, outcomes=slower, plain_seconds=99), tmp_path) == taken


def test_an_attack_that_the_run_left_out_was_not_run(tmp_path: Path) -> None:
    whole = read(RUN, tmp_path)
    left = RUN.outcomes[0]
    taken = read(dataclasses.replace(RUN, outcomes=RUN.outcomes[1:]), tmp_path)
    (changed,) = set(taken.attacks) - set(whole.attacks)
    assert (changed.id, changed.verdict, changed.control.verdict) == (left.id, Verdict.NOT_RUN, None)
    assert changed.rules == tuple(sorted(left.rules))
    assert changed.reasons == ("not part of the run",)


@pytest.mark.parametrize("change", ["rule taken away", "rule added", "unknown attack"])
def test_a_run_that_tried_other_rules_is_refused(change: str, tmp_path: Path) -> None:
    first = next(outcome for outcome in RUN.outcomes if outcome.rules)
    others = tuple(outcome for outcome in RUN.outcomes if outcome is not first)
    match change:
        case "rule taken away":
            other = dataclasses.replace(first, rules=first.rules[1:])
        case "rule added":
            other = dataclasses.replace(first, rules=(*first.rules, "Z99"))
        case _:
            other = dataclasses.replace(first, id="nobody-knows")
    with pytest.raises(MantletError, match=f"attack {other.id}: expected it to try"):
        read(dataclasses.replace(RUN, outcomes=(other, *others)), tmp_path)


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "attacks.json").write_bytes(b"{}")
    with pytest.raises(DecodeError, match="attacks: expected member"):
        release_attacks.read(tmp_path / "attacks.json", rules=RULES)


@pytest.mark.parametrize("change", ["manifest", "version", "id"])
def test_attacks_on_another_image_are_refused(change: str, tmp_path: Path) -> None:
    taken = read(RUN, tmp_path)
    digest = bytes.fromhex(DIGEST)
    taken.require(IMAGE, digest)
    other = {
        "manifest": (IMAGE, bytes(32)),
        "version": (dataclasses.replace(IMAGE, version="2"), digest),
        "id": (dataclasses.replace(IMAGE, id="other"), digest),
    }[change]
    with pytest.raises(MantletError, match="attacks: expected those on"):
        taken.require(*other)
