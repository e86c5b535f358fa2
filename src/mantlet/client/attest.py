# SPDX-License-Identifier: Apache-2.0
"""The attestation exchange: nonce out, evidence in, credential out, secret in, verdict (docs/formats.md,
*Evidence*).

Owns the messages and their order on the wire. What makes evidence good is `mantlet.verifier`'s matter alone.
"""

from dataclasses import dataclass
from datetime import datetime

from mantlet.client.transport import Transport, expect
from mantlet.tpm.protected_storage import Entropy
from mantlet.verifier.credential import Credential
from mantlet.verifier.policy import Trust
from mantlet.verifier.quote import Session
from mantlet.verifier.result import AttestationResult
from mantlet.verifier.verify import Request, verify
from mantlet_measure import evidence, strictjson
from mantlet_measure.evidence import State
from mantlet_measure.strictjson import Fields, base64_text

EVIDENCE_PATH = "/.well-known/mantlet/evidence"
ACTIVATE_PATH = "/.well-known/mantlet/activate"
_SECRET_LIMIT = 64
_ANSWER_LIMIT = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a relying party wants to know of a machine; the fields are those of `verifier.verify.Request`."""

    manifest: bytes
    trust: Trust
    expected_state: State
    entropy: Entropy
    now: datetime


def attest(transport: Transport, question: Question) -> AttestationResult:
    """Ask the machine for evidence and verify it. All of it happens on the connection that will carry
    prompts.

    Raises VerificationError, DecodeError for the manifest, MantletError for an answer that is none, and
    UnavailableError.
    """
    nonce = question.entropy(evidence.NONCE_SIZE)
    data = fetch_evidence(transport, nonce)
    request = Request(
        session=Session(nonce=nonce, tls_spki_sha256=transport.tls_spki_sha256),
        manifest=question.manifest,
        trust=question.trust,
        expected_state=question.expected_state,
        entropy=question.entropy,
        now=question.now,
    )
    return verify(data, request, activate=lambda credential: activate(transport, credential))


def fetch_evidence(transport: Transport, nonce: bytes) -> bytes:
    """Ask for evidence over `nonce` and return it undecoded."""
    body = strictjson.encode({"nonce": nonce.hex()})
    response = transport.request("POST", EVIDENCE_PATH, body, limit=evidence.LIMIT)
    return expect(response, 200, what="evidence")


def activate(transport: Transport, credential: Credential) -> bytes:
    """Have the machine activate a credential and return the secret that it answers."""
    body = strictjson.encode(
        {
            "credential_blob": base64_text(credential.credential_blob),
            "encrypted_secret": base64_text(credential.encrypted_secret),
        }
    )
    response = transport.request("POST", ACTIVATE_PATH, body, limit=_ANSWER_LIMIT)
    what = "activation"
    fields = Fields(strictjson.decode(expect(response, 200, what=what), what=what), what)
    secret = fields.base64("secret", _SECRET_LIMIT)
    fields.done()
    return secret
