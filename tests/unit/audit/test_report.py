# SPDX-License-Identifier: Apache-2.0
"""Exceptions explain findings of their own image; reports say the same in each form, and escape it."""

import json
import re
from pathlib import Path

import pytest
import yaml

from mantlet.audit import engine, page, policy, report
from mantlet.audit.checks import CHECKS
from mantlet.audit.finding import UNUSED, Exemption, Policy, Report, Severity
from mantlet_measure.errors import DecodeError
from tests.unit.audit.images import POLICY, UNITS, image, program

ATTACK = '"><script>alert(1)</script>'
TEMPLATE = Path(page.__file__).with_name(page.TEMPLATE).read_text("utf-8")
EXEMPTION = Exemption(rule="setuid", subject="root:/usr/bin/x*", reason="known")
OURS = Path(__file__).parents[3] / "policies" / "audit.yaml"


def told(*paths: str, exceptions: tuple[Exemption, ...] = (), name: str = "sample") -> Report:
    """The report of an image in which these programs are setuid."""
    return engine.audit(
        image({path: program(mode=0o4755) for path in paths}),
        Policy(image=name, exceptions=exceptions, units=UNITS),
    )


def test_an_image_that_keeps_every_rule_has_no_finding_and_is_seen_to_have_been_looked_at() -> None:
    found = engine.audit(image(), POLICY)
    assert found.findings == ()
    assert found.numbers["files of root"] > 10
    assert found.numbers["ELF files of root"] == 3
    assert set(found.rules) == {*CHECKS, UNUSED}


def test_an_exception_explains_the_findings_that_its_pattern_covers() -> None:
    found = told("/usr/bin/x", "/usr/bin/x2", "/usr/bin/other", exceptions=(EXEMPTION,))
    assert [item.subject for item in found.findings] == ["root:/usr/bin/other"]
    assert [(item.finding.subject, item.reason) for item in found.explained] == [
        ("root:/usr/bin/x", "known"),
        ("root:/usr/bin/x2", "known"),
    ]


def test_an_exception_for_one_image_explains_nothing_in_another() -> None:
    found = told("/usr/bin/x", exceptions=(EXEMPTION,), name="another")
    assert [item.rule for item in found.findings] == ["setuid"]
    assert found.explained == ()


def test_an_exception_that_explains_nothing_is_a_finding() -> None:
    assert [(item.rule, item.subject) for item in told(exceptions=(EXEMPTION,)).findings] == [
        (UNUSED, "setuid root:/usr/bin/x*")
    ]


def test_the_worst_findings_come_first() -> None:
    found = engine.audit(image({"/usr/bin/x": program(mode=0o4757), "/usr/bin/perl": program()}), POLICY)
    assert [item.severity for item in found.findings] == [Severity.HIGH, Severity.MEDIUM, Severity.LOW]


def test_json_and_sarif_say_the_same_and_explained_findings_are_suppressed() -> None:
    found = told("/usr/bin/x", "/usr/bin/y", exceptions=(EXEMPTION,))
    value = json.loads(json.dumps(report.to_value(found)))
    log = json.loads(json.dumps(report.to_sarif(found, artefact="disk.raw", version="1")))
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert [result["ruleId"] for result in run["results"]] == [
        item["rule"] for item in (*value["findings"], *value["explained"])
    ]
    assert all(rules[result["ruleIndex"]] == result["ruleId"] for result in run["results"])
    assert [result["level"] for result in run["results"]] == ["error", "error"]
    assert ["suppressions" in result for result in run["results"]] == [False, True]


def test_attack_by_a_file_name_is_escaped_in_the_page() -> None:
    text = page.render(told(f"/usr/bin/{ATTACK}"), TEMPLATE)
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_the_page_loads_nothing_and_says_each_rule() -> None:
    text = page.render(told("/usr/bin/x", exceptions=(EXEMPTION,)), TEMPLATE)
    assert re.findall(r"(?:src|href|url)\s*[=(]", text) == []
    assert "default-src 'none'" in text
    assert all(rule in text for rule in CHECKS)
    assert "No findings" in text


@pytest.mark.parametrize(
    "change",
    [
        {"format": "mantlet-audit/v2"},
        {"more": 1},
        {"image": ""},
        {"exceptions": {}},
        {"exceptions": [{"rule": "setuid", "subject": "x"}]},
        {"exceptions": [{"rule": "unheard-of", "subject": "x", "reason": "y"}]},
        {"exceptions": [{"rule": "setuid", "subject": "x", "reason": ""}]},
        {"fuse": ""},
        {"fuse": ["mantlet-fuse.service"]},
        {"units": {"root": []}},
        {"units": {"root": [1], "initrd": []}},
    ],
    ids=str,
)
def test_a_policy_of_another_form_is_refused(change: dict[str, object]) -> None:
    value = yaml.safe_load(OURS.read_text("utf-8"))
    assert policy.decode(value).image == "mantlet"
    assert policy.decode({**value, "fuse": None}).fuse == ""
    with pytest.raises(DecodeError):
        policy.decode({**value, **change})
