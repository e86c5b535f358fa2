# SPDX-License-Identifier: Apache-2.0
"""Verification that ends well, what it says then, and what it does not turn into a refusal."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mantlet.verifier.credential import Credential
from mantlet.verifier.policy import SoftwareTpm
from mantlet.verifier.result import result_to_value
from mantlet.verifier.steps import Ledger, Outcome, Step, VerificationError, refusal_to_value
from mantlet_measure.errors import DecodeError, UnavailableError
from mantlet_measure.evidence import State
from mantlet_measure.pcr import BANKS, ENFORCED
from tests.authority import Authority
from tests.machine import RUNTIME_SHA256, Machine
from tests.relying_party import POLICY, RelyingParty

AUTHORITY = Authority()
MANIFEST = Machine(authority=AUTHORITY).manifest


@pytest.fixture(scope="module")
def authority() -> Authority:
    return AUTHORITY


@pytest.fixture
def machine(authority: Authority) -> Machine:
    return Machine(authority=authority)


def test_a_serving_machine_is_accepted_with_every_step_passed(machine: Machine) -> None:
    party = RelyingParty.of(machine)
    result = party.verify(party.ask(machine), machine.activate)
    assert [(step.number, step.outcome) for step in result.steps] == [(step, Outcome.PASS) for step in Step]
    assert all(step.expected and step.observed for step in result.steps)
    assert result.state is State.SERVING
    assert result.runtime_sha256 == RUNTIME_SHA256
    assert result.deployment == machine.deployment
    assert result.storage_key_public == party.ask(machine).srk.public


def test_a_machine_that_awaits_its_key_is_accepted_by_who_brings_it(machine: Machine) -> None:
    machine.state, machine.capped = State.AWAITING_KEY, False
    party = RelyingParty.of(machine, state=State.AWAITING_KEY)
    result = party.verify(party.ask(machine), machine.activate)
    # What the key is sealed to is what the TPM signed.
    assert {
        bank: {register: machine.registers[bank][register] for register in ENFORCED} for bank in BANKS
    } == result.registers


def test_the_first_line_under_the_test_policy_says_what_it_is_worth(machine: Machine) -> None:
    party = RelyingParty.of(machine)
    result = party.verify(party.ask(machine), machine.activate)
    assert result.headline.startswith(
        "TEST POLICY: the TPM is software whose endorsement key was certified on this machine; "
    )
    with pytest.raises(VerificationError) as caught:
        party.verify(machine.evidence(bytes(32), bytes(32)), machine.activate)
    assert caught.value.headline == result.headline


def test_a_hardware_tpm_is_accepted_by_a_policy_for_hardware() -> None:
    machine = Machine(authority=Authority(model="SLB 9672"))
    party = RelyingParty.of(machine)
    hardware = dataclasses.replace(POLICY, name="default", software_tpm=SoftwareTpm.REFUSE)
    party = dataclasses.replace(party, trust=dataclasses.replace(party.trust, policy=hardware))
    result = party.verify(party.ask(machine), machine.activate)
    assert "TEST" not in result.headline
    assert any("virtual TPM" in text for text in result.does_not_prove)


def test_the_verdict_says_what_it_does_not_prove(machine: Machine) -> None:
    party = RelyingParty.of(machine)
    result = party.verify(party.ask(machine), machine.activate)
    assert any("memory" in text for text in result.does_not_prove)
    assert any("software TPM" in text for text in result.does_not_prove)


def test_the_result_is_json_with_every_step(machine: Machine) -> None:
    party = RelyingParty.of(machine)
    value = json.loads(json.dumps(result_to_value(party.verify(party.ask(machine), machine.activate))))
    assert value["verdict"] == "accepted"
    assert value["state"] == "serving"
    assert len(value["steps"]) == 11
    assert value["model"]["root_hash"] == machine.deployment.model.root_hash.hex()


def test_a_refusal_is_json_with_every_step_and_finding(machine: Machine) -> None:
    party = RelyingParty.of(machine)
    evidence = dataclasses.replace(party.ask(machine), firmware_log=b"")
    with pytest.raises(VerificationError) as caught:
        party.verify(evidence, machine.activate)
    value = json.loads(json.dumps(refusal_to_value(caught.value)))
    assert value["verdict"] == "refused"
    assert [step["outcome"] for step in value["steps"]] == ["pass"] * 7 + ["refuse"] + ["not-reached"] * 3
    assert value["steps"][7]["findings"]


def test_all_findings_of_a_step_are_reported(machine: Machine) -> None:
    party = RelyingParty.of(machine)
    with pytest.raises(VerificationError) as caught:
        party.verify(dataclasses.replace(party.ask(machine), system_log=b""), machine.activate)
    # Twelve separators and the phases in register 11, in both banks.
    assert len(caught.value.findings) == 26
    assert "(and 25 more)" in caught.value.message


def test_a_machine_that_cannot_be_reached_meanwhile_is_not_a_refusal(machine: Machine) -> None:
    def unreachable(credential: Credential) -> bytes:
        raise UnavailableError("no answer", hint="try again")

    party = RelyingParty.of(machine)
    with pytest.raises(UnavailableError):
        party.verify(party.ask(machine), unreachable)


def test_a_manifest_that_is_none_is_refused_before_the_steps(machine: Machine) -> None:
    party = dataclasses.replace(RelyingParty.of(machine), manifest=b"{}")
    with pytest.raises(DecodeError, match=r"measurements\.json"):
        party.verify(party.ask(machine), machine.activate)


def test_bytes_that_are_no_evidence_are_refused_at_step_1(machine: Machine) -> None:
    with pytest.raises(VerificationError, match="step 1, "):
        RelyingParty.of(machine).verify_bytes(b"\xff", machine.activate)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_and_nothing_else_is_raised(data: bytes) -> None:
    machine = Machine(authority=AUTHORITY, ek_certificate=b"-", manifest=MANIFEST)
    with pytest.raises(VerificationError, match="step 1, "):
        RelyingParty.of(machine).verify_bytes(data, machine.activate)


def test_a_verdict_with_a_step_left_out_cannot_be_made() -> None:
    ledger = Ledger(headline="-")
    with ledger.step(Step.EVIDENCE) as step:
        step.passed(expected="-", observed="-")
    with pytest.raises(AssertionError, match="left out"):
        ledger.passed()


def test_each_credential_is_made_of_fresh_secrets(machine: Machine) -> None:
    seen: list[Credential] = []

    def watch(credential: Credential) -> bytes:
        seen.append(credential)
        return machine.activate(credential)

    party = RelyingParty.of(machine)
    party.verify(party.ask(machine), watch)
    party.verify(party.ask(machine), watch)
    assert seen[0].credential_blob != seen[1].credential_blob
    assert seen[0].encrypted_secret != seen[1].encrypted_secret
