# SPDX-License-Identifier: Apache-2.0
"""The attestation exchange and the hand-over, over a real connection to a simulated machine."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from mantlet.client import attest as exchange
from mantlet.client.attest import Question, attest
from mantlet.client.handover import Status, fetch_status, hand_over
from mantlet.edge.https import Address, AttestedConnection
from mantlet.tpm.protected_storage import Entropy
from mantlet.verifier.steps import VerificationError
from mantlet_measure import handover
from mantlet_measure.errors import DecodeError, MantletError, UnavailableError
from mantlet_measure.evidence import State
from tests.authority import NOW, Authority
from tests.machine import Machine
from tests.relying_party import RelyingParty
from tests.served import Front, served
from tests.unit.measure.samples import HANDOVER


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    with served(Front(machine=Machine(authority=Authority()), folder=tmp_path)) as front:
        yield front


@pytest.fixture
def connection(front: Front) -> Iterator[AttestedConnection]:
    with AttestedConnection(Address(host="127.0.0.1", port=front.port), timeout=5) as connection:
        yield connection


def question(front: Front, entropy: Entropy = secrets.token_bytes) -> Question:
    party = RelyingParty.of(front.machine)
    return Question(
        manifest=party.manifest, trust=party.trust, expected_state=State.SERVING, entropy=entropy, now=NOW
    )


def test_a_good_machine_is_accepted_over_its_own_connection(
    front: Front, connection: AttestedConnection
) -> None:
    result = attest(connection, question(front))
    assert result.tls_spki_sha256 == connection.tls_spki_sha256
    assert front.seen == [exchange.EVIDENCE_PATH, exchange.ACTIVATE_PATH]
    assert front.connections == 1


def test_each_attestation_asks_with_a_nonce_of_its_own(front: Front, connection: AttestedConnection) -> None:
    attest(connection, question(front))
    attest(connection, question(front))
    assert front.bodies[0] != front.bodies[2]


def test_a_machine_that_will_not_activate_is_refused_at_step_4(
    front: Front, connection: AttestedConnection
) -> None:
    front.machine.ek_number = 1
    with pytest.raises(VerificationError, match=r"step 4, .* found 400"):
        attest(connection, question(front))


def test_a_server_that_is_no_mantlet_machine_is_refused(
    front: Front, connection: AttestedConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "EVIDENCE_PATH", "/somewhere-else")
    with pytest.raises(
        MantletError, match=r"evidence: expected HTTP 200, found 404 .not-found: no such path"
    ):
        attest(connection, question(front))


def test_a_sealed_key_is_handed_over_byte_for_byte(front: Front, connection: AttestedConnection) -> None:
    hand_over(connection, HANDOVER)
    assert front.bodies[-1] == handover.encode(HANDOVER)


def test_a_machine_that_awaits_no_key_refuses_it(front: Front, connection: AttestedConnection) -> None:
    front.sealed_key_status = 409
    with pytest.raises(MantletError, match=r"awaits one, found one that does not .not-awaiting"):
        hand_over(connection, HANDOVER)


def test_a_machine_whose_agent_is_not_up_could_not_be_asked(
    front: Front, connection: AttestedConnection
) -> None:
    front.sealed_key_status = 503
    with pytest.raises(UnavailableError):
        hand_over(connection, HANDOVER)


def test_the_status_is_stage_and_code(connection: AttestedConnection) -> None:
    assert fetch_status(connection) == Status(stage="serve", code="ok")


def test_an_activation_that_answers_something_else_is_refused(
    front: Front, connection: AttestedConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "ACTIVATE_PATH", "/.well-known/mantlet/evidence")
    with pytest.raises((DecodeError, MantletError, UnavailableError)):
        attest(connection, question(front))
