# SPDX-License-Identifier: Apache-2.0
"""Evidence that the agent makes with a real TPM implementation is accepted by the verifier, and by its rules
alone.

The simulated machine supplies events and documents; quote, certification, credential and endorsement are
swtpm's.
"""

import dataclasses
import hashlib
from datetime import UTC, datetime
from typing import Protocol

import pytest
from cryptography import x509
from tpm2_pytss import ESAPI, ESYS_TR, TPML_DIGEST_VALUES, TPMT_HA, TPMU_HA

from mantlet.verifier.credential import Credential
from mantlet.verifier.steps import Step
from mantlet_agent.attest import Attester, Situation
from mantlet_agent.tpm import Tpm
from mantlet_measure.pcr import BANKS, Event
from tests.authority import Authority
from tests.boot_events import encode_firmware_log, encode_system_log
from tests.machine import Machine
from tests.relying_party import RelyingParty, refused


class Manufactured(Protocol):
    """What the fixture of this name offers here."""

    ek_roots: bytes


@pytest.fixture
def machine(swtpm: ESAPI) -> Machine:
    """A simulated machine, all of whose events the software TPM has been extended by."""
    machine = Machine(authority=Authority())
    for event in (*machine.firmware, *machine.system, *(word.extended() for word in machine.agent_log)):
        extend(swtpm, event)
    return machine


def extend(esapi: ESAPI, event: Event) -> None:
    values = [
        TPMT_HA(hashAlg=bank.tpm_alg, digest=TPMU_HA(**{bank.value: event.digests[bank]})) for bank in BANKS
    ]
    esapi.pcr_extend(getattr(ESYS_TR, f"PCR{event.register}"), TPML_DIGEST_VALUES(values))


def party_of(machine: Machine, manufactured: Manufactured) -> RelyingParty:
    """A relying party that trusts the CA which swtpm_localca made, at the present time."""
    party = RelyingParty.of(machine, now=datetime.now(UTC))
    roots = tuple(x509.load_pem_x509_certificates(manufactured.ek_roots))
    return dataclasses.replace(party, trust=dataclasses.replace(party.trust, ek_certificates=roots))


def situation_of(machine: Machine, party: RelyingParty) -> Situation:
    assert machine.envelope is not None
    return Situation(
        state=machine.state,
        manifest_sha256=hashlib.sha256(machine.manifest).digest(),
        tls_spki_sha256=party.session.tls_spki_sha256,
        firmware_log=encode_firmware_log(machine.firmware),
        system_log=encode_system_log(machine.system),
        agent_log=machine.agent_log,
        deployment=machine.envelope,
    )


def test_the_agents_evidence_is_accepted(tpm: Tpm, machine: Machine, manufactured: Manufactured) -> None:
    attester = Attester(tpm)
    party = party_of(machine, manufactured)
    situation = situation_of(machine, party)
    evidence = attester.evidence(party.session.nonce, lambda: situation)

    def activate(credential: Credential) -> bytes:
        return attester.activate(credential.credential_blob, credential.encrypted_secret)

    result = party.verify(evidence, activate)
    assert result.tpm == "swtpm (id:00001014)"
    assert result.attestation_key_name
    assert [step.number for step in result.steps] == list(Step)


def test_one_extend_more_is_refused(tpm: Tpm, machine: Machine, manufactured: Manufactured) -> None:
    attester = Attester(tpm)
    party = party_of(machine, manufactured)
    situation = situation_of(machine, party)
    extend(tpm.esapi, machine.firmware[0])
    evidence = attester.evidence(party.session.nonce, lambda: situation)
    with refused(Step.LOGS, because="register 0 sha256"):
        party.verify(evidence, lambda item: attester.activate(item.credential_blob, item.encrypted_secret))
