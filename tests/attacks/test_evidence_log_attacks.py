# SPDX-License-Identifier: Apache-2.0
"""Attacks on the three logs of evidence, and on what was measured: each refused, each with its own name.

The last test flips one bit anywhere in encoded evidence.
"""

import dataclasses
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mantlet.verifier.quote import Session
from mantlet.verifier.steps import Step, VerificationError
from mantlet_measure import eventlog
from mantlet_measure import evidence as evidence_format
from mantlet_measure.cel import AgentRecord, agent_record, decode_system_log
from mantlet_measure.eventlog import decode_firmware_log
from mantlet_measure.evidence import Evidence
from mantlet_measure.pcr import Bank, Event, measured
from tests.authority import Authority
from tests.boot_events import encode_firmware_log, encode_system_log
from tests.machine import Machine
from tests.relying_party import RelyingParty, refused

FOREIGN = measured(4, b"something else", type="EV_EFI_BOOT_SERVICES_APPLICATION", description="")
PHASE = measured(11, b"sysinit", type="phase", description="sysinit")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def machine(authority: Authority) -> Machine:
    return Machine(authority=authority)


def with_logs(
    machine: Machine,
    evidence: Evidence,
    *,
    firmware: tuple[Event, ...] | None = None,
    system: tuple[Event, ...] | None = None,
    agent: tuple[AgentRecord, ...] | None = None,
) -> Evidence:
    """The evidence with logs that tell another story than the registers."""
    return dataclasses.replace(
        evidence,
        firmware_log=encode_firmware_log(machine.firmware if firmware is None else firmware),
        system_log=encode_system_log(machine.system if system is None else system),
        agent_log=machine.agent_log if agent is None else agent,
    )


def altered(event: Event) -> Event:
    """The same event, one bit of its SHA-384 digest flipped."""
    digest = event.digests[Bank.SHA384]
    flipped = bytes([digest[0] ^ 1]) + digest[1:]
    return dataclasses.replace(event, digests={**event.digests, Bank.SHA384: flipped})


@pytest.mark.parametrize("position", [0, 3, -1])
def test_a_firmware_log_with_one_event_dropped_is_refused(machine: Machine, position: int) -> None:
    party = RelyingParty.of(machine)
    events = list(machine.firmware)
    dropped = events.pop(position)
    evidence = with_logs(machine, party.ask(machine), firmware=tuple(events))
    with refused(Step.LOGS, because=f"register {dropped.register} sha256"):
        party.verify(evidence, machine.activate)


@pytest.mark.parametrize("position", [0, 3, -1])
def test_a_firmware_log_with_one_event_altered_is_refused(machine: Machine, position: int) -> None:
    party = RelyingParty.of(machine)
    events = list(machine.firmware)
    events[position] = altered(events[position])
    evidence = with_logs(machine, party.ask(machine), firmware=tuple(events))
    with refused(Step.LOGS, because=f"register {events[position].register} sha384"):
        party.verify(evidence, machine.activate)


def test_a_firmware_log_with_one_event_added_is_refused(machine: Machine) -> None:
    party = RelyingParty.of(machine)
    evidence = with_logs(machine, party.ask(machine), firmware=(*machine.firmware, FOREIGN))
    with refused(Step.LOGS, because="register 4 sha256"):
        party.verify(evidence, machine.activate)


def test_a_firmware_log_with_two_events_swapped_is_refused(machine: Machine) -> None:
    party = RelyingParty.of(machine)
    events = list(machine.firmware)
    events[1], events[2] = events[2], events[1]
    evidence = with_logs(machine, party.ask(machine), firmware=tuple(events))
    with refused(Step.LOGS, because="register 7 sha256"):
        party.verify(evidence, machine.activate)


@pytest.mark.parametrize("register", [10, 16, 23])
def test_a_log_with_an_event_of_a_register_that_is_not_replayed_is_refused(
    machine: Machine, register: int
) -> None:
    party = RelyingParty.of(machine)
    stray = dataclasses.replace(FOREIGN, register=register)
    evidence = with_logs(machine, party.ask(machine), firmware=(*machine.firmware, stray))
    with refused(Step.LOGS, because=f"one of register {register}"):
        party.verify(evidence, machine.activate)


@pytest.mark.parametrize("position", [0, -1])
def test_a_system_log_with_one_event_dropped_is_refused(machine: Machine, position: int) -> None:
    party = RelyingParty.of(machine)
    events = list(machine.system)
    dropped = events.pop(position)
    evidence = with_logs(machine, party.ask(machine), system=tuple(events))
    with refused(Step.LOGS, because=f"register {dropped.register} sha256"):
        party.verify(evidence, machine.activate)


def test_a_system_log_with_one_event_altered_is_refused(machine: Machine) -> None:
    party = RelyingParty.of(machine)
    events = (*machine.system[:-1], altered(machine.system[-1]))
    evidence = with_logs(machine, party.ask(machine), system=events)
    with refused(Step.LOGS, because="register 11 sha384"):
        party.verify(evidence, machine.activate)


def test_a_system_log_with_one_event_added_is_refused(machine: Machine) -> None:
    party = RelyingParty.of(machine)
    evidence = with_logs(machine, party.ask(machine), system=(*machine.system, PHASE))
    with refused(Step.LOGS, because="register 11 sha256"):
        party.verify(evidence, machine.activate)


def test_a_system_log_that_is_cut_short_is_refused(machine: Machine) -> None:
    party = RelyingParty.of(machine)
    evidence = party.ask(machine)
    cut = dataclasses.replace(evidence, system_log=evidence.system_log[:-1])
    with refused(Step.LOGS, because="a newline at its end"):
        party.verify(cut, machine.activate)


def test_a_firmware_log_that_is_cut_short_is_refused(machine: Machine) -> None:
    party = RelyingParty.of(machine)
    evidence = party.ask(machine)
    cut = dataclasses.replace(evidence, firmware_log=evidence.firmware_log[:-1])
    with refused(Step.LOGS, because="expected a whole log"):
        party.verify(cut, machine.activate)


def test_a_firmware_log_cut_between_two_events_is_refused(machine: Machine) -> None:
    party = RelyingParty.of(machine)
    evidence = party.ask(machine)
    last = decode_firmware_log(evidence.firmware_log).events[-1]
    size = 12 + sum(2 + len(digest) for digest in last.digests.values()) + 4 + len(last.claimed_data)
    cut = dataclasses.replace(evidence, firmware_log=evidence.firmware_log[:-size])
    with refused(Step.LOGS, because=f"register {last.register} sha256"):
        party.verify(cut, machine.activate)


def test_a_firmware_log_of_one_bank_is_refused(machine: Machine) -> None:
    party = RelyingParty.of(machine)
    evidence = party.ask(machine)
    one = eventlog.encode_firmware_log(
        decode_firmware_log(evidence.firmware_log).events, banks=(Bank.SHA256,)
    )
    with refused(Step.LOGS, because="expected digests of bank sha384, found those of sha256"):
        party.verify(dataclasses.replace(evidence, firmware_log=one), machine.activate)


def test_an_agent_log_with_one_word_dropped_is_refused(machine: Machine) -> None:
    party = RelyingParty.of(machine)
    evidence = with_logs(machine, party.ask(machine), agent=machine.agent_log[:-1])
    with refused(Step.LOGS, because="register 15 sha256"):
        party.verify(evidence, machine.activate)


def test_an_agent_log_with_one_digest_altered_is_refused(machine: Machine) -> None:
    party = RelyingParty.of(machine)
    first, *others = machine.agent_log
    forged = dataclasses.replace(first, digests=altered(first.extended()).digests)
    evidence = with_logs(machine, party.ask(machine), agent=(forged, *others))
    with refused(Step.LOGS, because="agent record 0, sha384 of its word"):
        party.verify(evidence, machine.activate)


def test_an_agent_log_whose_word_is_not_the_measured_one_is_refused(machine: Machine) -> None:
    party = RelyingParty.of(machine)
    first, *others = machine.agent_log
    renamed = dataclasses.replace(first, word=f"mantlet:deployment:{'0' * 64}")
    evidence = with_logs(machine, party.ask(machine), agent=(renamed, *others))
    with refused(Step.LOGS, because="agent record 0, sha256 of its word"):
        party.verify(evidence, machine.activate)


def test_an_agent_log_with_one_word_added_is_refused(machine: Machine) -> None:
    party = RelyingParty.of(machine)
    extra = agent_record(len(machine.agent_log), "cap", "mantlet:cap")
    evidence = with_logs(machine, party.ask(machine), agent=(*machine.agent_log, extra))
    with refused(Step.LOGS, because="register 15 sha256"):
        party.verify(evidence, machine.activate)


def test_an_agent_log_with_an_event_renamed_is_refused(machine: Machine) -> None:
    party = RelyingParty.of(machine)
    *others, cap = machine.agent_log
    evidence = with_logs(
        machine, party.ask(machine), agent=(*others, dataclasses.replace(cap, event="capped"))
    )
    with refused(Step.DEPLOYMENT, because="agent word 4"):
        party.verify(evidence, machine.activate)


def test_a_machine_that_measured_another_kernel_is_refused_and_the_event_is_named(
    machine: Machine, authority: Authority
) -> None:
    party = RelyingParty.of(machine)
    firmware = tuple(
        measured(11, b"another kernel", type="EV_IPL", description=".linux")
        if event.digests == measured(11, b"the kernel", type="", description="").digests
        else event
        for event in machine.firmware
    )
    changed = Machine(
        authority=authority,
        firmware=firmware,
        manifest=machine.manifest,
        deployment_key=machine.deployment_key,
    )
    with refused(Step.REFERENCE_VALUES, because="section .linux differs"):
        party.verify(party.ask(changed), changed.activate)


def test_a_machine_that_measured_one_event_more_is_refused_and_the_event_is_named(
    machine: Machine, authority: Authority
) -> None:
    party = RelyingParty.of(machine)
    changed = Machine(
        authority=authority,
        system=(*machine.system, PHASE),
        manifest=machine.manifest,
        deployment_key=machine.deployment_key,
    )
    with refused(Step.REFERENCE_VALUES, because="the boot went on to phase “sysinit”"):
        party.verify(party.ask(changed), changed.activate)


def test_a_machine_that_measured_one_event_less_is_refused_and_the_event_is_named(
    machine: Machine, authority: Authority
) -> None:
    party = RelyingParty.of(machine)
    changed = Machine(
        authority=authority,
        system=machine.system[:-1],
        manifest=machine.manifest,
        deployment_key=machine.deployment_key,
    )
    with refused(Step.REFERENCE_VALUES, because="the boot phase “leave-initrd” was not reached"):
        party.verify(party.ask(changed), changed.activate)


def proven(evidence: Evidence) -> list[tuple[int, dict[Bank, bytes]]]:
    """What a log can prove: registers and digests, in order."""
    firmware, system = decode_firmware_log(evidence.firmware_log), decode_system_log(evidence.system_log)
    events = (*firmware.events, *system.events)
    return [(event.register, dict(event.digests)) for event in events]


MACHINE = Machine(authority=Authority())
PARTY = dataclasses.replace(
    RelyingParty.of(MACHINE), session=Session(nonce=bytes(32), tls_spki_sha256=bytes(32))
)
EVIDENCE = PARTY.ask(MACHINE)
ENCODED = evidence_format.encode(EVIDENCE)


@settings(max_examples=600, deadline=None)
@given(bit=st.integers(0, 8 * len(ENCODED) - 1))
def test_evidence_with_one_flipped_bit_is_refused_or_differs_only_in_what_a_log_merely_says(bit: int) -> None:
    data = bytearray(ENCODED)
    data[bit // 8] ^= 1 << bit % 8
    try:
        PARTY.verify_bytes(bytes(data), MACHINE.activate)
    except VerificationError:
        return
    flipped = evidence_format.decode(bytes(data))
    firmware, system = EVIDENCE.firmware_log, EVIDENCE.system_log
    # Nothing but the logs may differ, and they only in names, texts and times, which no digest covers.
    assert dataclasses.replace(flipped, firmware_log=firmware, system_log=system) == EVIDENCE
    assert proven(flipped) == proven(EVIDENCE)


def test_the_evidence_that_the_bits_are_flipped_in_is_good() -> None:
    result = PARTY.verify_bytes(ENCODED, MACHINE.activate)
    assert result.manifest_sha256 == hashlib.sha256(MACHINE.manifest).digest()
