# SPDX-License-Identifier: Apache-2.0
"""Tests of the release report and of the results that it is made of."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from mantlet.release import report
from mantlet.release.attack_results import Attack, Verdict
from mantlet.release.audit_results import CheckVerdict
from mantlet.release.report import Report
from mantlet_measure import strictjson
from mantlet_measure.errors import DecodeError
from tests.unit.release.reports import ATTACKS, EXPLAINED, attack, report_of

SCHEMA = Path(__file__).parents[3] / "policies" / "schema" / "report.json"
VALIDATOR = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_bytes()))
REPORT = report_of()


def changed(change: Callable[[Any], object]) -> bytes:
    value = json.loads(report.encode(REPORT))
    change(value)
    return strictjson.encode(value)


def under(*attacks: Attack) -> Report:
    """The report, had these been the attacks."""
    return dataclasses.replace(REPORT, attacks=attacks)


def attack_verdicts(made: Report) -> Mapping[str, Verdict | None]:
    return {row.rule.id: row.attack for row in made.rows}


def test_a_report_survives_a_round_trip() -> None:
    assert report.decode(report.encode(REPORT)) == REPORT


def test_a_report_matches_its_json_schema() -> None:
    VALIDATOR.validate(json.loads(report.encode(REPORT)))


def test_a_rule_has_the_worst_verdict_of_the_attacks_on_it() -> None:
    assert attack_verdicts(REPORT) == {
        "A01": Verdict.INERT,
        "A02": Verdict.FAIL_CLOSED,
        "B01": Verdict.NOT_RUN,
        "B02": None,
        "P01": None,
    }
    worse = under(*ATTACKS[:2], attack("serial-keys", Verdict.BREACH, "A01", "A02"))
    assert attack_verdicts(worse)["A01"] is attack_verdicts(worse)["A02"] is Verdict.BREACH


def test_a_rule_has_the_verdict_of_its_check() -> None:
    assert [row.static for row in REPORT.rows] == [
        *(CheckVerdict.CLEAN, CheckVerdict.CLEAN, None, CheckVerdict.EXPLAINED, None)
    ]
    standing = dataclasses.replace(EXPLAINED, subject="/c", reason=None)
    audit = dataclasses.replace(REPORT.audit, findings=(standing, EXPLAINED))
    assert dataclasses.replace(REPORT, audit=audit).rows[3].static is CheckVerdict.FINDING
    without = dataclasses.replace(REPORT.audit, checks={"words": "No word."})
    assert dataclasses.replace(REPORT, audit=without).rows[0].static is CheckVerdict.MISSING


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value["rules"][0].update(attack_verdict="fail-closed"),
        lambda value: value["rules"][2].update(attack_verdict="inert"),
        lambda value: value["rules"][2].update(attack_verdict=None),
        lambda value: value["rules"][3].update(check_verdict="clean"),
        lambda value: value["attacks"].pop(1),
        lambda value: value["attacks"][1].update(rules=["Z99"]),
        lambda value: value["rules"].reverse() or value["rules"].append(value["rules"][0]),
    ],
    ids=[
        *("better", "untried as tried", "untried as unnamed", "explained as clean"),
        *("attack taken out", "unknown rule", "rule twice"),
    ],
)
def test_verdicts_that_do_not_follow_are_refused(change: Callable[[Any], object]) -> None:
    data = changed(change)
    VALIDATOR.validate(json.loads(data))
    with pytest.raises(DecodeError):
        report.decode(data)


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.update(extra=1),
        lambda value: value.pop("registers"),
        lambda value: value["image"].update(epoch=0),
        lambda value: value["registers"]["qemu-ovmf"].update(md5={}),
        lambda value: value["registers"]["qemu-ovmf"]["sha256"].update({"16": "00" * 32}),
        lambda value: value["registers"].update({"Bad Name": {}}),
        lambda value: value["rules"][0].pop("status"),
        lambda value: value["rules"][4].update(status="kept"),
        lambda value: value["rules"][0].update({"class": "hoped"}),
        lambda value: value["rules"].clear(),
        lambda value: value["audit"]["looked_at"].update(UKIs=-1),
        lambda value: value["audit"]["explained"][0].pop("reason"),
        lambda value: value["audit"]["explained"][0].update(severity="none"),
        lambda value: value["versions"].pop("qemu"),
        lambda value: value["attacks"].clear(),
        lambda value: value["attacks"][0]["control"].update(verdict=None),
        lambda value: value["attacks"][0]["control"].update(verdict="inert"),
        lambda value: value["attacks"][0].update(verdict="fine"),
        lambda value: value["attacks"][0].update(facts=["\x1b[2J"]),
        lambda value: value["build"].update(disk_sha256="AB" * 32),
    ],
)
def test_a_report_out_of_shape_is_refused_by_decoder_and_schema(change: Callable[[Any], object]) -> None:
    data = changed(change)
    assert not VALIDATOR.is_valid(json.loads(data))
    with pytest.raises(DecodeError):
        report.decode(data)


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value["audit"]["explained"][0].update(rule="unknown-check"),
        lambda value: value["attacks"].reverse(),
        lambda value: value["attacks"][2]["rules"].reverse(),
    ],
    ids=["a finding of no check", "attacks in another order", "rules in another order"],
)
def test_an_order_or_a_reference_that_a_schema_cannot_say_is_refused(
    change: Callable[[Any], object],
) -> None:
    with pytest.raises(DecodeError):
        report.decode(changed(change))


def test_another_spelling_of_a_report_is_refused() -> None:
    loose = json.dumps(json.loads(report.encode(REPORT)), indent=1).encode()
    with pytest.raises(DecodeError, match="expected canonical JSON"):
        report.decode(loose)


def test_more_than_a_document_carries_is_refused() -> None:
    many: dict[str, Callable[[Any], object]] = {
        "versions": lambda value: value["versions"].update({f"v{n}": "1" for n in range(40)}),
        "looked_at": lambda value: value["audit"]["looked_at"].update({f"n{n}": 1 for n in range(300)}),
    }
    for name, change in many.items():
        with pytest.raises(DecodeError, match=name):
            report.decode(changed(change))
