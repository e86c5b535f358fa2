# SPDX-License-Identifier: Apache-2.0
"""The rules of operator access: the committed ones against the project, and what is refused."""

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from mantlet.audit import document
from mantlet.audit.checks import CHECKS
from mantlet.audit.rules import OperatorAccess, Rule, RuleClass, Status, decode
from mantlet.edge import operator_access
from mantlet_measure.errors import DecodeError
from mantlet_measure.pcr import ENFORCED

ROOT = Path(__file__).parents[3]
SCHEMA = json.loads((ROOT / "policies/schema/operator-access.json").read_text("utf-8"))
COMMITTED: dict[str, Any] = yaml.safe_load((ROOT / "policies/operator-access.yaml").read_text("utf-8"))
ACCESS: OperatorAccess = operator_access.read()
# A setting as a configuration file or a command line has it.
SETTING = re.compile(r"[A-Za-z][\w.]*=[\w-]+")

EXAMPLE: dict[str, Any] = {
    "format": "mantlet-operator-access/v1",
    "groups": [
        {
            "title": "One",
            "rules": [
                {
                    "id": "A01",
                    "title": "A door",
                    "class": "closed",
                    "channel": "U1",
                    "mechanism": "It is open.",
                    "closed_by": {"status": "kept", "how": "It is shut.", "files": ["image/keep/root.list"]},
                    "static": "doors",
                    "attack": None,
                    "registers": [7, 12],
                    "source": "A book",
                },
                {
                    "id": "A02",
                    "title": "A window",
                    "class": "limit",
                    "mechanism": "It is of glass.",
                    "not_claimed": "Nobody says that it is not.",
                    "static": None,
                    "attack": "stone",
                    "registers": [],
                    "source": "Another book",
                },
            ],
        }
    ],
}


def closed(value: dict[str, Any]) -> Any:
    return value["groups"][0]["rules"][0]


def limit(value: dict[str, Any]) -> Any:
    return value["groups"][0]["rules"][1]


def test_the_committed_rules_follow_their_schema() -> None:
    jsonschema.validate(COMMITTED, SCHEMA)


def test_the_committed_document_is_the_one_that_the_rules_make() -> None:
    assert operator_access.document_file().read_text("utf-8") == document.markdown(ACCESS)


def test_every_group_of_the_catalogue_has_rules_and_every_unmeasured_channel_its_own() -> None:
    assert "".join(sorted({rule.id[0] for rule in ACCESS.rules})) == "ABCDEFGHIJLMNPR"
    assert len(ACCESS.rules) >= 170
    assert {rule.channel for rule in ACCESS.rules if rule.channel} == {f"U{rank}" for rank in range(1, 18)}


@pytest.mark.parametrize("rule", ACCESS.rules, ids=lambda rule: rule.id)
def test_what_closes_a_way_in_stands_in_files_that_exist(rule: Rule) -> None:
    if rule.closure is None:
        assert rule.kind is RuleClass.LIMIT
        assert rule.not_claimed
        return
    assert [file for file in rule.closure.files if not (ROOT / file).is_file()] == []


@pytest.mark.parametrize(
    "rule", [rule for rule in ACCESS.rules if rule.closure and not rule.open], ids=lambda rule: rule.id
)
def test_a_setting_that_a_kept_rule_names_stands_in_one_of_its_files(rule: Rule) -> None:
    assert rule.closure
    texts = [(ROOT / file).read_text("utf-8") for file in rule.closure.files]
    settings = SETTING.findall(rule.closure.how)
    # By word: `console=null` is not in `console=nullified`.
    missing = [
        setting
        for setting in settings
        if not any(re.search(rf"(?<![\w.]){re.escape(setting)}(?![\w-])", text) for text in texts)
    ]
    assert missing == []


def test_settings_are_named_at_all() -> None:
    told = " ".join(rule.closure.how for rule in ACCESS.rules if rule.closure)
    named = set(SETTING.findall(told))
    assert {"console=null", "lockdown=confidentiality", "systemd.import_credentials=no"} <= named


def test_every_check_that_a_rule_names_exists() -> None:
    assert {rule.static for rule in ACCESS.rules if rule.static} <= set(CHECKS)


def test_no_limit_claims_a_check_of_the_image() -> None:
    assert [rule.id for rule in ACCESS.rules if rule.kind is RuleClass.LIMIT and rule.static] == []


def test_what_is_measured_shows_in_an_enforced_register() -> None:
    measured = [rule for rule in ACCESS.rules if rule.kind is RuleClass.MEASURED]
    assert measured
    assert [rule.id for rule in measured if not set(rule.registers) & set(ENFORCED)] == []


def test_fw_cfg_is_closed_in_the_image_because_no_register_shows_it() -> None:
    (rule,) = [rule for rule in ACCESS.rules if rule.channel == "U1"]
    assert (rule.kind, rule.registers, rule.open) == (RuleClass.CLOSED, (), False)


def test_whoever_owns_a_virtual_tpm_or_reads_memory_is_named_as_a_limit() -> None:
    limits = {rule.id for rule in ACCESS.rules if rule.kind is RuleClass.LIMIT}
    assert {"I12", "M01", "P01"} <= limits


def test_the_document_has_a_row_for_each_rule_and_lists_what_is_open_and_what_is_not_claimed() -> None:
    text = document.markdown(ACCESS)
    for rule in ACCESS.rules:
        assert len(re.findall(rf"^\| {rule.id}[ ,]", text, re.MULTILINE)) == 1, rule.id
        listed = len(re.findall(rf"^- {rule.id}, ", text, re.MULTILINE))
        assert listed == (rule.open or rule.kind is RuleClass.LIMIT), rule.id
    widths = {line.count("|") for line in text.splitlines() if re.match(r"\| [A-Z]\d\d", line)}
    assert widths == {10}


def test_the_document_tells_an_open_rule_from_a_kept_one() -> None:
    value = copy.deepcopy(EXAMPLE)
    assert "**closed, open**" not in document.markdown(decode(value))
    closed(value)["closed_by"]["status"] = "open"
    assert "**closed, open**" in document.markdown(decode(value))


def test_an_example_is_decoded_member_by_member() -> None:
    first, second = decode(EXAMPLE).rules
    assert first.closure
    assert (first.id, first.kind, first.channel, first.static, first.attack) == (
        "A01",
        RuleClass.CLOSED,
        "U1",
        "doors",
        None,
    )
    assert (first.closure.status, first.closure.files) == (Status.KEPT, ("image/keep/root.list",))
    assert (first.registers, first.not_claimed) == ((7, 12), None)
    assert (second.closure, second.not_claimed) == (None, "Nobody says that it is not.")
    jsonschema.validate(EXAMPLE, SCHEMA)


BOTH_REFUSE: dict[str, Callable[[dict[str, Any]], object]] = {
    "another format": lambda value: value.update(format="mantlet-operator-access/v2"),
    "an unknown member": lambda value: closed(value).update(severity="high"),
    "a member too few": lambda value: closed(value).pop("source"),
    "an unknown class": lambda value: closed(value).update({"class": "hoped"}),
    "an unknown status": lambda value: closed(value)["closed_by"].update(status="soon"),
    "a closed rule without what closes it": lambda value: closed(value).pop("closed_by"),
    "a closed rule that claims nothing": lambda value: closed(value).update(not_claimed="Nothing."),
    "a limit with what closes it": lambda value: limit(value).update(closed_by=closed(value)["closed_by"]),
    "a limit that says nothing": lambda value: limit(value).pop("not_claimed"),
    "no file": lambda value: closed(value)["closed_by"].update(files=[]),
    "a file twice": lambda value: closed(value)["closed_by"].update(files=["README.md", "README.md"]),
    "a file of the machine": lambda value: closed(value)["closed_by"].update(files=["/etc/shadow"]),
    "a file outside": lambda value: closed(value)["closed_by"].update(files=["image/../../shadow"]),
    "a register that does not exist": lambda value: closed(value).update(registers=[16]),
    "a register that is a truth value": lambda value: closed(value).update(registers=[True]),
    "a register twice": lambda value: closed(value).update(registers=[7, 7]),
    "an id without a number": lambda value: closed(value).update(id="A"),
    "a bar that would break the table": lambda value: closed(value).update(title="a | b"),
    "a line feed that would break the table": lambda value: closed(value).update(mechanism="a\nb"),
    "an empty sentence": lambda value: closed(value).update(mechanism=""),
}
DECODER_REFUSES: dict[str, Callable[[dict[str, Any]], object]] = {
    "registers out of order": lambda value: closed(value).update(registers=[12, 7]),
    "an id twice": lambda value: limit(value).update(id="A01"),
    "a channel twice": lambda value: limit(value).update(channel="U1"),
    "rules out of order": lambda value: value["groups"][0]["rules"].reverse(),
    "no rule": lambda value: value.update(groups=[]),
    "a measured rule that no enforced register shows": lambda value: closed(value).update(
        {"class": "measured", "registers": [1]}
    ),
}


@pytest.mark.parametrize("name", [*BOTH_REFUSE, *DECODER_REFUSES])
def test_the_decoder_refuses(name: str) -> None:
    value = copy.deepcopy(EXAMPLE)
    {**BOTH_REFUSE, **DECODER_REFUSES}[name](value)
    with pytest.raises(DecodeError):
        decode(value)


@pytest.mark.parametrize("name", BOTH_REFUSE)
def test_the_schema_refuses(name: str) -> None:
    value = copy.deepcopy(EXAMPLE)
    BOTH_REFUSE[name](value)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value, SCHEMA)


@pytest.mark.parametrize("value", [None, [], "rules", 7, {}])
def test_what_is_no_object_of_rules_is_refused(value: object) -> None:
    with pytest.raises(DecodeError):
        decode(value)
