# SPDX-License-Identifier: Apache-2.0
"""A burnt login fuse: refused with its reason, accepted by a policy that says so, and not to be hidden."""

import dataclasses
import json

import pytest

from mantlet.verifier.policy import FusePolicy
from mantlet.verifier.result import result_to_value
from mantlet.verifier.steps import Step, VerificationError
from mantlet_measure.cel import agent_record
from mantlet_measure.evidence import State
from mantlet_measure.words import FuseKind
from tests.authority import Authority
from tests.machine import Machine
from tests.relying_party import POLICY, RelyingParty, refused

AUTHORITY = Authority()


@pytest.fixture
def machine() -> Machine:
    return Machine(authority=AUTHORITY)


def tolerant(machine: Machine, *, state: State = State.SERVING) -> RelyingParty:
    party = RelyingParty.of(machine, state=state)
    policy = dataclasses.replace(POLICY, fuse=FusePolicy.ACCEPT)
    return dataclasses.replace(party, trust=dataclasses.replace(party.trust, policy=policy))


@pytest.mark.parametrize("kind", FuseKind)
def test_a_machine_on_which_somebody_was_is_refused_with_the_reason(machine: Machine, kind: FuseKind) -> None:
    machine.burnt = kind
    party = RelyingParty.of(machine)
    with refused(Step.DEPLOYMENT, because=kind.meaning):
        party.verify(party.ask(machine), machine.activate)


def test_a_machine_that_awaits_its_key_and_has_burnt_gets_none(machine: Machine) -> None:
    machine.state, machine.capped, machine.burnt = State.AWAITING_KEY, False, FuseKind.PROGRAM
    party = RelyingParty.of(machine, state=State.AWAITING_KEY)
    with refused(Step.DEPLOYMENT, because="login fuse"):
        party.verify(party.ask(machine), machine.activate)


def test_a_policy_may_accept_a_burnt_fuse_and_the_verdict_says_so(machine: Machine) -> None:
    machine.burnt = FuseKind.SESSION
    party = tolerant(machine)
    result = party.verify(party.ask(machine), machine.activate)
    assert result.burnt is FuseKind.SESSION
    assert json.loads(json.dumps(result_to_value(result)))["fuse"] == "session"
    assert any("login fuse has burnt" in text for text in result.does_not_prove)
    assert not any("watch" in text for text in result.proves)


def test_a_fuse_that_holds_is_part_of_what_is_proven(machine: Machine) -> None:
    party = RelyingParty.of(machine)
    result = party.verify(party.ask(machine), machine.activate)
    assert result.burnt is None
    assert result_to_value(result)["fuse"] == "not burnt"
    assert any("watch has seen nothing" in text for text in result.proves)


def test_a_log_without_the_word_of_a_burnt_fuse_does_not_replay(machine: Machine) -> None:
    machine.burnt = FuseKind.PROGRAM
    party = tolerant(machine)
    evidence = party.ask(machine)
    with refused(Step.LOGS, because="register 15"):
        party.verify(dataclasses.replace(evidence, agent_log=evidence.agent_log[:-1]), machine.activate)


def test_a_milder_word_than_the_one_that_was_extended_does_not_replay(machine: Machine) -> None:
    machine.burnt = FuseKind.PROGRAM
    party = tolerant(machine)
    evidence = party.ask(machine)
    milder = agent_record(4, "fuse", FuseKind.LOST.word)
    with refused(Step.LOGS, because="register 15"):
        party.verify(
            dataclasses.replace(evidence, agent_log=(*evidence.agent_log[:-1], milder)), machine.activate
        )


def test_a_policy_that_accepts_a_burnt_fuse_accepts_no_other_word(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.burnt = FuseKind.PROGRAM
    monkeypatch.setattr(FuseKind, "word", property(lambda self: "mantlet:fuse:nothing"))
    party = tolerant(machine)
    evidence = party.ask(machine)
    monkeypatch.undo()
    with pytest.raises(VerificationError) as caught:
        party.verify(evidence, machine.activate)
    assert caught.value.step is Step.DEPLOYMENT
    assert "fuse: mantlet:fuse:nothing" in caught.value.message
