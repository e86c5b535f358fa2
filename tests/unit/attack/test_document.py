# SPDX-License-Identifier: Apache-2.0
"""The document of results: canonical, strict, and as the schema has it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from mantlet.attack.document import Outcome, Results, decode, encode
from mantlet.attack.judge import Verdict
from mantlet_measure.errors import DecodeError

OUTCOME = Outcome(
    id="fw-cfg-unit",
    title="A unit",
    rules=("D02", "D20"),
    verdict=Verdict.INERT,
    control="weakened-build",
    control_verdict=Verdict.BREACH,
    reasons=(),
    facts=("ended: serving",),
    control_facts=("serial2 said mark",),
    seconds=17,
    control_seconds=40,
)
RESULTS = Results(
    image="mantlet",
    version="1",
    manifest_sha256="0" * 64,
    weakened_sha256="1" * 64,
    platform={"qemu": "11", "firmware": "OVMF", "swtpm": "0.10", "accelerator": "tcg"},
    plain_seconds=38,
    outcomes=(OUTCOME, replace(OUTCOME, id="vsock", verdict=Verdict.NOT_RUN, control_verdict=None)),
)


def test_results_survive_encoding() -> None:
    assert decode(encode(RESULTS)) == RESULTS


def test_results_keep_to_the_schema() -> None:
    schema = json.loads(Path("policies/schema/attacks.json").read_text())
    Draft202012Validator(schema).validate(json.loads(encode(RESULTS)))


def test_results_are_accepted_only_when_every_attack_is() -> None:
    assert not RESULTS.accepted
    assert replace(RESULTS, outcomes=(OUTCOME,)).accepted
    for verdict in (Verdict.BREACH, Verdict.VOID):
        assert not replace(RESULTS, outcomes=(OUTCOME, replace(OUTCOME, verdict=verdict))).accepted


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"ended: serving"', '"ended: off"'),
        ('"verdict":"inert"', '"verdict":"fine"'),
        ('"id":"vsock"', '"id":"fw-cfg-unit"'),
        ('"plain_seconds":38', '"plain_seconds":38,"when":1'),
        ("mantlet-attacks/v1", "mantlet-attacks/v0"),
    ],
)
def test_changed_results_are_refused(before: str, after: str) -> None:
    text = encode(RESULTS).decode()
    assert before in text
    with pytest.raises(DecodeError):
        decode(text.replace(before, after).encode())
