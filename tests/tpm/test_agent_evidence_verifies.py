# SPDX-License-Identifier: Apache-2.0
"""The attester and the verifier on one table: evidence of the agent's `serve`, from a software TPM that has
measured a whole boot in small, goes through every step of `mantlet.verifier`."""

import dataclasses
import datetime
import hashlib
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tpm2_pytss import ESYS_TR, TPML_DIGEST_VALUES, TPMT_HA, TPMU_HA

from mantlet.verifier import policy as policies
from mantlet.verifier.credential import Credential
from mantlet.verifier.policy import Trust
from mantlet.verifier.quote import Session
from mantlet.verifier.steps import VerificationError
from mantlet.verifier.verify import Request, verify
from mantlet_agent import serve, stages
from mantlet_agent.attest import Attester
from mantlet_agent.http import RequestError
from mantlet_agent.places import Places
from mantlet_agent.serve import TpmWitness
from mantlet_agent.stages import Code, Record, Stage, State
from mantlet_agent.tpm import Tpm
from mantlet_measure import deployment as documents
from mantlet_measure import dsse, evidence, strictjson
from mantlet_measure.cel import agent_record, encode_agent_log
from mantlet_measure.evidence import State as Claimed
from mantlet_measure.pcr import BANKS
from mantlet_measure.words import agent_words
from tests.boot_events import (
    encode_firmware_log,
    encode_system_log,
    firmware_events,
    manifest_of,
    system_events,
)
from tests.tpm.conftest import Manufactured

MODEL = documents.Model(
    id="tiny",
    version="1",
    epoch=1,
    file="model.gguf",
    root_hash=bytes(range(32)),
    salt=bytes(32),
    data_blocks=2,
    hash_offset=8192,
    size=12288,
)
EVENTS = (*firmware_events(), *system_events())
MANIFEST = manifest_of(EVENTS)
SPKI = hashlib.sha256(b"the TLS key").digest()
POLICY = Path("policies/appraisal/test.yaml")


class Booted:
    """A machine after its boot: registers extended, and in its folders what `boot` leaves for `serve`."""

    def __init__(self, places: Places, tpm: Tpm, *, state: State) -> None:
        self.places = places
        self.signer = Ed25519PrivateKey.generate()
        payload = documents.encode(
            documents.Deployment(
                id="demo",
                image_id="mantlet",
                image_version="1.2.3",
                manifest_sha256=hashlib.sha256(MANIFEST).digest(),
                model=MODEL,
                policy_key=b"\x00\x0b" + b"p" * 32,
                runtime="llama-server",
            )
        )
        words = agent_words(
            deployment_sha256=hashlib.sha256(payload).digest(),
            runtime_sha256=bytes(32),
            root_hash=MODEL.root_hash,
            capped=state is State.SERVING,
        )
        for event in EVENTS:
            digests = [
                TPMT_HA(hashAlg=bank.tpm_alg, digest=TPMU_HA(**{bank.value: event.digests[bank]}))
                for bank in BANKS
            ]
            tpm.esapi.pcr_extend(ESYS_TR(event.register), TPML_DIGEST_VALUES(digests=digests))
        for _, word in words:
            tpm.extend(15, word.encode())
        records = [agent_record(number, *word) for number, word in enumerate(words)]
        envelope = dsse.sign(documents.PAYLOAD_TYPE, payload, [self.signer])
        places.public.mkdir(parents=True)
        for path, content in (
            (places.envelope, dsse.encode(envelope)),
            (places.agent_log, strictjson.encode(encode_agent_log(records))),
            (places.firmware_log_copy, encode_firmware_log(firmware_events())),
            (places.system_log_copy, encode_system_log(system_events())),
            (places.tls_spki, SPKI.hex().encode()),
        ):
            path.write_bytes(content)
        self.enter(state)
        self.witness = TpmWitness(Attester(tpm), places)

    def enter(self, state: State) -> None:
        record = Record(state=state, verdicts=((Stage.UNSEAL, Code.OK),))
        self.places.stages.write_bytes(stages.encode(record))

    def ask(self, nonce: bytes) -> bytes:
        return evidence.encode(self.witness.evidence(nonce))

    def activate(self, credential: Credential) -> bytes:
        return self.witness.activate(credential.credential_blob, credential.encrypted_secret)


@pytest.fixture
def booted(tmp_path: Path, tpm: Tpm) -> Callable[[State], Booted]:
    return lambda state: Booted(Places(root=tmp_path), tpm, state=state)


@pytest.fixture
def request_of(manufactured: Manufactured) -> Callable[..., Request]:
    """What a relying party takes for granted when it asks this machine."""

    def make(machine: Booted, state: Claimed, manifest: bytes = MANIFEST) -> Request:
        return Request(
            session=Session(nonce=secrets.token_bytes(32), tls_spki_sha256=SPKI),
            manifest=manifest,
            trust=Trust(
                policy=policies.decode(yaml.safe_load(POLICY.read_text())),
                ek_certificates=tuple(x509.load_pem_x509_certificates(manufactured.ek_roots)),
                deployment_keys=(machine.signer.public_key(),),
            ),
            expected_state=state,
            entropy=secrets.token_bytes,
            now=datetime.datetime.now(datetime.UTC),
        )

    return make


@pytest.mark.parametrize("state", [State.AWAITING_KEY, State.SERVING])
def test_the_agents_evidence_passes_every_step(
    booted: Callable[[State], Booted], request_of: Callable[..., Request], state: State
) -> None:
    machine = booted(state)
    request = request_of(machine, Claimed(state.value))
    result = verify(machine.ask(request.session.nonce), request, activate=machine.activate)
    assert result is not None


def test_a_machine_that_says_it_serves_without_its_cap_is_refused(
    booted: Callable[[State], Booted], request_of: Callable[..., Request]
) -> None:
    machine = booted(State.AWAITING_KEY)
    machine.enter(State.SERVING)
    request = request_of(machine, Claimed.SERVING)
    with pytest.raises(VerificationError):
        verify(machine.ask(request.session.nonce), request, activate=machine.activate)


def test_a_machine_that_measured_one_more_thing_is_refused(
    booted: Callable[[State], Booted], request_of: Callable[..., Request], tpm: Tpm
) -> None:
    machine = booted(State.SERVING)
    tpm.extend(12, b"debug")
    request = request_of(machine, Claimed.SERVING)
    with pytest.raises(VerificationError):
        verify(machine.ask(request.session.nonce), request, activate=machine.activate)


def test_evidence_for_one_nonce_is_refused_for_the_next(
    booted: Callable[[State], Booted], request_of: Callable[..., Request]
) -> None:
    machine = booted(State.SERVING)
    first, second = request_of(machine, Claimed.SERVING), request_of(machine, Claimed.SERVING)
    data = machine.ask(first.session.nonce)
    assert verify(data, first, activate=machine.activate) is not None
    with pytest.raises(VerificationError):
        verify(data, second, activate=machine.activate)


def test_evidence_of_another_release_is_refused(
    booted: Callable[[State], Booted], request_of: Callable[..., Request]
) -> None:
    machine = booted(State.SERVING)
    other = manifest_of((*EVENTS[:-1], dataclasses.replace(EVENTS[-1], description="another")))
    request = request_of(machine, Claimed.SERVING, other)
    with pytest.raises(VerificationError):
        verify(machine.ask(request.session.nonce), request, activate=machine.activate)


def test_a_machine_that_is_starting_gives_no_evidence(booted: Callable[[State], Booted]) -> None:
    machine = booted(State.SERVING)
    machine.enter(State.STARTING)
    with pytest.raises(RequestError, match="starting"):
        machine.ask(bytes(32))


def test_before_the_first_stage_the_machine_is_starting(tmp_path: Path) -> None:
    assert serve.read_record(Places(root=tmp_path)).state is State.STARTING
