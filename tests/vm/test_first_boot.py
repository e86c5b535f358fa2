# SPDX-License-Identifier: Apache-2.0
"""The first boot of a new machine with the default model: its lines, its TPM, its evidence.

The values that evidence reports and the manifest predicts are compared with a third source that knows
neither: the extends that the TPM was really given.
"""

import hashlib

import pytest

from mantlet.edge.attack import tpm_trace
from mantlet.edge.attack.heard import after_firmware
from mantlet.edge.machine import Line
from mantlet.release import manifest
from mantlet_measure import dsse, words
from mantlet_measure.evidence import State
from mantlet_measure.pcr import BANKS, ENFORCED, Bank
from tests.vm.rig import Rig
from tests.vm.watch import Boot

pytestmark = pytest.mark.vm

CAP = "mantlet:cap"


def test_a_new_machine_awaits_its_key_and_serves_once_it_has_it(first: Boot) -> None:
    assert first.lines == (
        Line("inspect", "ok"),
        Line("configure", "ok"),
        Line("weights", "ok"),
        Line("unseal", "awaiting-key"),
        Line("unseal", "ok"),
        Line("cap", "ok"),
        Line("launch", "ok"),
        Line("serve", "ok"),
    )


def test_its_serial_port_says_the_agents_lines_and_nothing_else(first: Boot) -> None:
    lines = b"".join(f"mantlet {line.stage} {line.code}\r\n".encode() for line in first.lines)
    assert after_firmware(first.serial) == lines


@pytest.mark.parametrize("state", list(State))
def test_the_machine_is_accepted_in_both_states(first: Boot, state: State) -> None:
    result = first.results[state]
    assert result.state is state
    assert len(result.steps) == 11
    assert result.headline.startswith("TEST POLICY: the TPM is software")


@pytest.mark.parametrize("bank", BANKS)
@pytest.mark.parametrize("register", [number for number in ENFORCED if number != 15])
def test_a_predicted_register_is_what_the_tpm_was_given(
    rig: Rig, first: Boot, register: int, bank: Bank
) -> None:
    predicted = manifest.decode(rig.manifest.read_bytes()).platforms["qemu-ovmf"].banks[bank][register]
    assert first.trace.registers(bank)[register] == predicted.value


@pytest.mark.parametrize("bank", BANKS)
@pytest.mark.parametrize("register", [number for number in ENFORCED if number != 15])
def test_a_predicted_event_is_an_extend_that_the_tpm_was_given(
    rig: Rig, first: Boot, register: int, bank: Bank
) -> None:
    predicted = manifest.decode(rig.manifest.read_bytes()).platforms["qemu-ovmf"].banks[bank][register]
    given = [each.digests[bank] for each in first.trace.extensions if each.register == register]
    assert given == [event.digest for event in predicted.events]


@pytest.mark.parametrize("bank", BANKS)
def test_register_15_holds_the_four_words_of_the_agent_and_nothing_else(first: Boot, bank: Bank) -> None:
    evidence, result = first.evidence[State.SERVING], first.results[State.SERVING]
    listed = words.agent_words(
        deployment_sha256=hashlib.sha256(evidence.deployment.payload).digest(),
        runtime_sha256=result.runtime_sha256,
        root_hash=result.deployment.model.root_hash,
        capped=True,
    )
    given = [each.digests[bank] for each in first.trace.extensions if each.register == 15]
    assert given == [hashlib.new(bank, word.encode("ascii")).digest() for _, word in listed]


@pytest.mark.parametrize("bank", BANKS)
def test_evidence_reports_every_register_as_the_tpm_was_given_it(first: Boot, bank: Bank) -> None:
    assert dict(first.evidence[State.SERVING].pcrs[bank]) == first.trace.registers(bank)


@pytest.mark.parametrize("bank", BANKS)
def test_the_registers_accepted_are_those_that_the_tpm_was_given(first: Boot, bank: Bank) -> None:
    given = first.trace.registers(bank)
    accepted = first.results[State.SERVING].registers[bank]
    assert dict(accepted) == {register: given[register] for register in ENFORCED}


def test_the_document_that_was_measured_is_the_one_that_was_signed(first: Boot) -> None:
    for state in State:
        assert dsse.encode(first.evidence[state].deployment) == dsse.encode(
            first.evidence[State.SERVING].deployment
        )
    payload = first.evidence[State.SERVING].deployment.payload
    first.trace.place_of_word(f"mantlet:deployment:{hashlib.sha256(payload).hexdigest()}")


def test_the_tpm_releases_the_key_exactly_once_and_before_the_cap(first: Boot) -> None:
    results = first.trace.results(tpm_trace.UNSEAL)
    assert results.count(tpm_trace.SUCCESS) == 1
    released = first.trace.places(tpm_trace.UNSEAL)[results.index(tpm_trace.SUCCESS)]
    root_hash = first.results[State.SERVING].deployment.model.root_hash.hex()
    weights = first.trace.place_of_word(f"mantlet:weights:{root_hash}")
    assert weights < released < first.trace.place_of_word(CAP)


def test_the_tpm_refuses_the_same_approval_and_the_same_key_after_the_cap(first: Boot) -> None:
    cap = first.trace.place_of_word(CAP)

    def after(code: int) -> list[int]:
        pairs = zip(first.trace.places(code), first.trace.results(code), strict=True)
        return [result for place, result in pairs if place > cap]

    assert after(tpm_trace.POLICY_AUTHORIZE) == [tpm_trace.VALUE_OF_PARAMETER_1]
    assert after(tpm_trace.UNSEAL) == [tpm_trace.POLICY_FAIL_OF_SESSION_1]


def test_the_storage_key_that_the_key_was_sealed_for_is_the_same_in_both_states(first: Boot) -> None:
    one, other = (first.results[state].storage_key_public for state in State)
    assert one == other
