# SPDX-License-Identifier: Apache-2.0
"""The second boot of the same machine: no one hands anything over, and no register drifts."""

import json

import pytest

from mantlet.client.attest import fetch_evidence
from mantlet.edge.attack import tpm_trace
from mantlet.edge.attack.tpm_trace import Trace
from mantlet.edge.machine import Line
from mantlet_measure import evidence as evidence_format
from mantlet_measure.evidence import State
from mantlet_measure.pcr import BANKS, ENFORCED, Bank
from mantlet_measure.words import CAP
from tests.vm.watch import Boot, Watch

pytestmark = pytest.mark.vm

QUESTIONS = 25


def test_it_serves_without_anybody(second: Watch) -> None:
    stages = ("inspect", "configure", "weights", "unseal", "cap", "launch", "serve")
    assert second.machine.lines() == tuple(Line(stage, "ok") for stage in stages)


@pytest.mark.parametrize("bank", BANKS)
def test_no_enforced_register_drifts(first: Boot, second: Watch, bank: Bank) -> None:
    before, now = first.trace.registers(bank), Trace(second.machine.trace).registers(bank)
    assert {number: now[number] for number in ENFORCED} == {number: before[number] for number in ENFORCED}
    reported = second.evidence[State.SERVING].pcrs[bank]
    assert {number: reported[number] for number in ENFORCED} == {
        number: before[number] for number in ENFORCED
    }


def test_the_tpm_releases_the_key_once_more_and_once_only(second: Watch) -> None:
    results = Trace(second.machine.trace).results(tpm_trace.UNSEAL)
    assert results == [tpm_trace.SUCCESS, tpm_trace.POLICY_FAIL_OF_SESSION_1]


def test_the_evidence_process_asks_the_tpm_nothing_before_the_cap(second: Watch) -> None:
    trace = Trace(second.machine.trace)
    # It makes its key first of all, and nobody else makes one.
    (made,) = trace.places(tpm_trace.CREATE_PRIMARY)
    assert made > trace.place_of_word(CAP)


def test_the_tls_key_is_a_new_one_and_the_attestation_key_the_same(first: Boot, second: Watch) -> None:
    before, now = first.results[State.SERVING], second.results[State.SERVING]
    assert before.tls_spki_sha256 != now.tls_spki_sha256
    assert before.attestation_key_name == now.attestation_key_name


def test_it_takes_no_key_while_it_serves(second: Watch) -> None:
    with second.rig.connect(second.machine) as connection:
        answer = connection.request("POST", "/.well-known/mantlet/sealed-key", b"{}", limit=4096)
    assert answer.status == 409


def test_a_machine_that_serves_and_is_asked_again_and_again_has_a_fuse_that_holds(second: Watch) -> None:
    for number in range(QUESTIONS):
        with second.rig.connect(second.machine) as connection:
            fetched = fetch_evidence(connection, bytes([number]) * 32)
            # No client can have a program started.
            connection.request("POST", "/v1/completions", b"{", limit=1 << 20)
            connection.request("GET", "/slots", limit=1 << 20)
        assert evidence_format.decode(fetched).agent_log[-1].word == CAP
    said = second.rig.expect(
        "verify", f"https://127.0.0.1:{second.machine.port}", "--json", *second.rig.trust()
    )
    assert json.loads(said.result)["fuse"] == "not burnt"
    assert [each.register for each in Trace(second.machine.trace).extensions].count(15) == 4
