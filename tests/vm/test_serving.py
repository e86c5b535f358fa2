# SPDX-License-Identifier: Apache-2.0
"""What a serving machine answers: the real model, over TLS with the verified key, and nothing else."""

import hashlib
import json
import re
import socket
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mantlet.client import chat
from mantlet.edge import demo_model
from mantlet_measure.evidence import State
from tests.vm.rig import PATIENCE
from tests.vm.watch import Watch

pytestmark = pytest.mark.vm

LIMIT = 1 << 20
QUESTION = "What is the capital of France?"


def test_ask_verifies_the_machine_and_prints_an_answer_of_the_real_model(second: Watch) -> None:
    address = f"https://127.0.0.1:{second.machine.port}"
    said = second.rig.expect("ask", address, QUESTION, "--max-tokens", "12", *second.rig.trust())
    # What it says is drawn at random; that it says words, and not what the tiny model would, is not.
    assert len(re.findall(r"\w{2,}", said.result)) >= 3, said.result
    assert "TEST POLICY: the TPM is software" in said.story
    assert "ACCEPTED" in said.story
    assert said.story.index("ACCEPTED") < said.story.index("over the verified connection")


def test_tokens_come_one_by_one_on_the_verified_connection(second: Watch) -> None:
    with second.rig.connect(second.machine) as connection:
        assert connection.tls_spki_sha256 == second.results[State.SERVING].tls_spki_sha256
        pieces = list(chat.ask(connection, QUESTION, model=demo_model.MODEL_ID, max_tokens=4))
    assert len(pieces) > 2


def test_the_list_of_models_names_the_model_and_no_path(second: Watch) -> None:
    with second.rig.connect(second.machine) as connection:
        answer = connection.request("GET", "/v1/models", limit=LIMIT)
    assert answer.status == 200
    assert [entry["id"] for entry in json.loads(answer.body)["data"]] == [demo_model.MODEL_ID]
    assert b".gguf" not in answer.body
    assert b"/run" not in answer.body


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/slots", "/props", "/metrics", "/health", "/v1/health", "/v1/nope", "/models", "/completion"),
        *("/tokenize", "/apply-template", "/lora-adapters", "/infill", "/index.html", "/v1/models/"),
        *("/v1/../slots", "//slots", "/.well-known/mantlet/", "/.well-known/mantlet/nope"),
        *("/.error/absent", "/v1/models/../../slots", "/api/tags", "/cors-proxy", "/tools"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_every_other_path_is_not_there(second: Watch, method: str, path: str) -> None:
    with second.rig.connect(second.machine) as connection:
        answer = connection.request(method, path, b"{}" if method == "POST" else None, limit=LIMIT)
    assert answer.status == 404
    assert json.loads(answer.body)["error"]["code"] == "not-found"


@pytest.mark.parametrize("path", ["/%2e%2e/slots", "/v1/../../slots", "/%zz", "/%00"])
def test_a_path_that_leads_out_or_does_not_parse_is_malformed(second: Watch, path: str) -> None:
    with second.rig.connect(second.machine) as connection:
        answer = connection.request("GET", path, limit=LIMIT)
    assert answer.status == 400
    assert json.loads(answer.body)["error"]["code"] == "malformed"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/models"),
        ("DELETE", "/v1/models"),
        ("GET", "/v1/chat/completions"),
        ("PUT", "/v1/chat/completions"),
        ("OPTIONS", "/v1/completions"),
        ("GET", "/v1/embeddings"),
        ("GET", "/.well-known/mantlet/evidence"),
        ("GET", "/.well-known/mantlet/sealed-key"),
        ("POST", "/.well-known/mantlet/status"),
        ("TRACE", "/v1/models"),
    ],
)
def test_every_other_method_is_refused(second: Watch, method: str, path: str) -> None:
    with second.rig.connect(second.machine) as connection:
        answer = connection.request(method, path, limit=LIMIT)
    assert answer.status in (400, 404)
    assert b"nginx" not in answer.body.lower()


def test_the_certificate_holds_the_key_that_evidence_names(second: Watch) -> None:
    with _handshake(second, ssl.TLSVersion.TLSv1_3) as secured:
        der = secured.getpeercert(binary_form=True)
        assert secured.version() == "TLSv1.3"
    assert der is not None
    spki = x509.load_der_x509_certificate(der).public_key()
    digest = hashlib.sha256(spki.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    assert digest == second.evidence[State.SERVING].tls_spki_sha256


def test_tls_1_2_is_refused(second: Watch) -> None:
    with pytest.raises(ssl.SSLError), _handshake(second, ssl.TLSVersion.TLSv1_2):
        pass


def test_the_status_says_that_it_serves(second: Watch) -> None:
    with second.rig.connect(second.machine) as connection:
        answer = connection.request("GET", "/.well-known/mantlet/status", limit=LIMIT)
    assert json.loads(answer.body) == {"stage": "serve", "code": "ok"}


def test_the_model_knows_the_capital_of_france(second: Watch) -> None:
    prompt = {"model": demo_model.MODEL_ID, "prompt": "The capital of France is", "max_tokens": 3}
    body = json.dumps(prompt | {"temperature": 0}).encode()
    with second.rig.connect(second.machine) as connection:
        answer = connection.request("POST", "/v1/completions", body, limit=LIMIT)
    assert answer.status == 200
    assert "Paris" in json.loads(answer.body)["choices"][0]["text"]


def _handshake(second: Watch, version: ssl.TLSVersion) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    plain = socket.create_connection(("127.0.0.1", second.machine.port), timeout=PATIENCE)
    try:
        return context.wrap_socket(plain)
    except BaseException:
        plain.close()
        raise
