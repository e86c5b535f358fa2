# SPDX-License-Identifier: Apache-2.0
"""What `serve` answers at each route (docs/formats.md, *Evidence*).

Owns the routes, the strictness of their bodies, and which state allows which. The TPM's part is behind
`Witness`, so that the routes do not know how evidence is made.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from mantlet_agent import http, stages
from mantlet_agent.http import Request, RequestError, Response, Status
from mantlet_agent.stages import Record, State
from mantlet_measure import evidence as documents
from mantlet_measure import handover, strictjson
from mantlet_measure.errors import DecodeError
from mantlet_measure.evidence import Evidence
from mantlet_measure.strictjson import Fields, base64_text

BODY_LIMIT = handover.LIMIT
_PREFIX = "/.well-known/mantlet/"
_CREDENTIAL_LIMIT = 1024


class Witness(Protocol):
    """Who makes evidence. RequestError when it cannot be had now, or for this question."""

    def evidence(self, nonce: bytes) -> Evidence:
        """Return fresh evidence over a nonce of 32 bytes."""

    def activate(self, credential_blob: bytes, encrypted_secret: bytes) -> bytes:
        """Return the secret of a credential."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """The four routes of one machine."""

    witness: Witness
    record: Callable[[], Record]
    hand_over: Callable[[bytes], None]

    def respond(self, request: Request) -> Response:
        """Answer a request. RequestError for everything that is refused."""
        table: Mapping[tuple[str, str], Callable[[bytes], Response]] = {
            ("POST", "evidence"): self._evidence,
            ("POST", "activate"): self._activate,
            ("POST", "sealed-key"): self._sealed_key,
            ("GET", "status"): self._status,
        }
        route = request.target.removeprefix(_PREFIX) if request.target.startswith(_PREFIX) else ""
        handler = table.get((request.method, route))
        if handler is None:
            raise RequestError(Status.NOT_FOUND, "not-found", "there is nothing here")
        try:
            return handler(request.body)
        except DecodeError as error:
            raise RequestError(Status.BAD_REQUEST, "malformed", error.message) from error

    def _evidence(self, body: bytes) -> Response:
        fields = _body(body, "evidence request")
        nonce = fields.hex("nonce", documents.NONCE_SIZE)
        fields.done()
        return Response(status=Status.OK, body=documents.encode(self.witness.evidence(nonce)))

    def _activate(self, body: bytes) -> Response:
        fields = _body(body, "activation request")
        blob = fields.base64("credential_blob", _CREDENTIAL_LIMIT)
        encrypted = fields.base64("encrypted_secret", _CREDENTIAL_LIMIT)
        fields.done()
        return http.answer(Status.OK, {"secret": base64_text(self.witness.activate(blob, encrypted))})

    def _sealed_key(self, body: bytes) -> Response:
        if self.record().state is not State.AWAITING_KEY:
            raise RequestError(Status.CONFLICT, "not-awaiting-key", "this machine does not await a key")
        handover.decode(body)
        self.hand_over(body)
        return http.answer(Status.ACCEPTED, {})

    def _status(self, _: bytes) -> Response:
        verdicts = self.record().verdicts
        stage, code = verdicts[-1] if verdicts else (stages.Stage.INSPECT, "running")
        return http.answer(Status.OK, {"stage": str(stage), "code": str(code)})


def _body(body: bytes, what: str) -> Fields:
    return Fields(strictjson.decode(body, what=what, limit=BODY_LIMIT), what)
