# SPDX-License-Identifier: Apache-2.0
"""Appraisal policies: the committed ones, and what is refused."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from mantlet.verifier.policy import FusePolicy, SoftwareTpm, decode
from mantlet_measure.errors import DecodeError
from mantlet_measure.pcr import ENFORCED

POLICIES = Path(__file__).parents[3] / "policies"
SCHEMA = json.loads((POLICIES / "schema/appraisal.json").read_text())
TEST: dict[str, Any] = yaml.safe_load((POLICIES / "appraisal/test.yaml").read_text())


def committed(name: str) -> object:
    return yaml.safe_load((POLICIES / f"appraisal/{name}.yaml").read_text())


def test_a_burnt_fuse_is_refused_unless_a_policy_says_otherwise() -> None:
    silent = {name: value for name, value in TEST.items() if name != "fuse"}
    assert decode(silent).fuse is decode(TEST).fuse is decode(committed("default")).fuse is FusePolicy.REFUSE
    assert decode(TEST | {"fuse": "accept"}).fuse is FusePolicy.ACCEPT


def test_the_default_policy_takes_hardware_only_and_pins_every_enforced_register() -> None:
    policy = decode(committed("default"))
    assert policy.software_tpm is SoftwareTpm.REFUSE
    assert policy.software_models == ("swtpm",)
    assert policy.registers == ENFORCED


def test_the_test_policy_differs_from_the_default_in_the_software_tpm_alone() -> None:
    default, test = copy.deepcopy(committed("default")), copy.deepcopy(TEST)
    assert isinstance(default, dict)
    assert (test["name"], test["tpm"]["software"]) == ("test", "accept")
    test["name"], test["tpm"]["software"] = default["name"], default["tpm"]["software"]
    assert test == default


@pytest.mark.parametrize("name", ["default", "test"])
def test_the_committed_policies_follow_their_schema(name: str) -> None:
    jsonschema.validate(committed(name), SCHEMA)


BROKEN: list[dict[str, Any]] = [
    {"format": "mantlet-appraisal/v2"},
    {"name": "Upper"},
    {"platforms": []},
    {"platforms": [7]},
    {"registers": []},
    {"registers": [16]},
    {"registers": [True]},
    {"tpm": {"software": "maybe", "software_models": ["swtpm"]}},
    {"tpm": {"software": "refuse", "software_models": []}},
    {"tpm": {"software": "refuse"}},
    {"unknown": 1},
    {"fuse": "ignore"},
    {"fuse": True},
]


@pytest.mark.parametrize("change", BROKEN, ids=str)
def test_a_policy_that_breaks_a_rule_is_refused_by_code_and_schema(change: dict[str, Any]) -> None:
    value = {**TEST, **change}
    with pytest.raises(DecodeError):
        decode(value)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value, SCHEMA)


@pytest.mark.parametrize("registers", [[7, 4], [4, 4]])
def test_registers_out_of_order_or_twice_are_refused(registers: list[int]) -> None:
    with pytest.raises(DecodeError, match="ascending"):
        decode({**TEST, "registers": registers})
