# SPDX-License-Identifier: Apache-2.0
"""The four routes, what each state allows, and what their bodies must be."""

import json
from dataclasses import dataclass, field

import pytest

from mantlet_agent import routes, serve
from mantlet_agent.http import Response, Status
from mantlet_agent.routes import Routes
from mantlet_agent.stages import Code, Record, Stage, State
from mantlet_measure import dsse, handover, strictjson
from mantlet_measure.evidence import Evidence, Quote, StorageKey
from mantlet_measure.evidence import State as EvidenceState
from mantlet_measure.pcr import BANKS
from tests.unit.measure.samples import HANDOVER

HANDED = handover.encode(HANDOVER)
SERVING = Record(state=State.SERVING, verdicts=((Stage.SERVE, Code.OK),))


class Echo:
    """A witness whose evidence holds nothing but the nonce."""

    def evidence(self, nonce: bytes) -> Evidence:
        return Evidence(
            nonce=nonce,
            state=EvidenceState.SERVING,
            manifest_sha256=bytes(32),
            tls_spki_sha256=bytes(32),
            ek_certificate=b"c",
            ak_public=b"a",
            quote=Quote(attest=b"q", signature=b"s"),
            srk=StorageKey(public=b"p", attest=b"a", signature=b"s"),
            pcrs={bank: {register: bytes(bank.size) for register in range(16)} for bank in BANKS},
            firmware_log=b"f",
            system_log=b"s",
            agent_log=(),
            deployment=dsse.Envelope(payload_type="t", payload=b"{}", signatures=()),
        )

    def activate(self, credential_blob: bytes, encrypted_secret: bytes) -> bytes:
        return credential_blob + encrypted_secret


@dataclass
class Machine:
    """Routes in a state that the test sets."""

    record: Record = SERVING
    handed: list[bytes] = field(default_factory=list)

    def ask(self, method: str, route: str, body: bytes = b"") -> Response:
        answering = Routes(witness=Echo(), record=lambda: self.record, hand_over=self.handed.append)
        request = f"{method} {route} HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        chunks = [request]
        return serve.respond(answering, lambda _: chunks.pop() if chunks else b"")


@pytest.fixture
def machine() -> Machine:
    return Machine()


def code(response: Response) -> str:
    return str(json.loads(response.body)["error"]["code"])


def test_evidence_echoes_the_nonce(machine: Machine) -> None:
    nonce = "ab" * 32
    response = machine.ask("POST", "/.well-known/mantlet/evidence", f'{{"nonce":"{nonce}"}}'.encode())
    assert response.status is Status.OK
    assert json.loads(response.body)["nonce"] == nonce


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"nonce":""}',
        b'{"nonce":"' + b"ab" * 31 + b'"}',
        b'{"nonce":"' + b"AB" * 32 + b'"}',
        b'{"nonce":"' + b"ab" * 32 + b'","more":1}',
        b'{"nonce":"' + b"ab" * 32 + b'","nonce":"' + b"ab" * 32 + b'"}',
        b'{"nonce":1e9}',
    ],
)
def test_a_question_that_is_not_one_nonce_is_refused(machine: Machine, body: bytes) -> None:
    response = machine.ask("POST", "/.well-known/mantlet/evidence", body)
    assert (response.status, code(response)) == (Status.BAD_REQUEST, "malformed")


def test_activation_gives_back_what_the_tpm_gave(machine: Machine) -> None:
    body = b'{"credential_blob":"YWI=","encrypted_secret":"Y2Q="}'
    response = machine.ask("POST", "/.well-known/mantlet/activate", body)
    assert strictjson.decode(response.body, what="answer") == {"secret": "YWJjZA=="}


def test_the_status_is_the_last_verdict(machine: Machine) -> None:
    assert machine.ask("GET", "/.well-known/mantlet/status").body == b'{"code":"ok","stage":"serve"}'


def test_a_sealed_key_is_handed_over_while_the_machine_awaits_one(machine: Machine) -> None:
    machine.record = Record(state=State.AWAITING_KEY, verdicts=((Stage.UNSEAL, Code.AWAITING_KEY),))
    response = machine.ask("POST", "/.well-known/mantlet/sealed-key", HANDED)
    assert response.status is Status.ACCEPTED
    assert machine.handed == [HANDED]


@pytest.mark.parametrize("state", [State.STARTING, State.SERVING])
def test_a_sealed_key_is_refused_by_a_machine_that_awaits_none(machine: Machine, state: State) -> None:
    machine.record = Record(state=state, verdicts=())
    response = machine.ask("POST", "/.well-known/mantlet/sealed-key", HANDED)
    assert (response.status, machine.handed) == (Status.CONFLICT, [])


def test_what_is_no_sealed_key_is_not_handed_over(machine: Machine) -> None:
    machine.record = Record(state=State.AWAITING_KEY, verdicts=())
    response = machine.ask("POST", "/.well-known/mantlet/sealed-key", HANDED[:-1])
    assert (response.status, machine.handed) == (Status.BAD_REQUEST, [])


@pytest.mark.parametrize(
    ("method", "route"),
    [
        ("GET", "/"),
        ("GET", "/.well-known/mantlet/"),
        ("GET", "/.well-known/mantlet/evidence"),
        ("POST", "/.well-known/mantlet/status"),
        ("PUT", "/.well-known/mantlet/sealed-key"),
        ("POST", "/.well-known/mantlet/evidence/"),
        ("POST", "/.well-known/mantlet/../mantlet/evidence"),
        ("POST", "evidence"),
        ("GET", "status"),
    ],
)
def test_everything_else_is_not_there_and_always_says_the_same(
    machine: Machine, method: str, route: str
) -> None:
    response = machine.ask(method, route)
    assert response.status is Status.NOT_FOUND
    assert response.body == machine.ask("GET", "/other").body


def test_a_body_beyond_the_limit_is_refused(machine: Machine) -> None:
    response = machine.ask("POST", "/.well-known/mantlet/evidence", bytes(routes.BODY_LIMIT + 1))
    assert response.status is Status.TOO_LARGE
