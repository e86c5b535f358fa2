# SPDX-License-Identifier: Apache-2.0
"""A simulated machine behind a real TLS 1.3 front on loopback: the routes of docs/formats.md, and a tiny
runtime."""

import base64
import hashlib
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID
from typing_extensions import override

from mantlet.verifier.credential import Credential
from mantlet_measure import evidence as evidence_format
from mantlet_measure.errors import MantletError
from tests.authority import FIRST, LAST
from tests.machine import Machine

DELTAS = ("Two", " plus two", " is four — “4”.")


@dataclass(kw_only=True)
class Front:
    """What the front does, what it has seen, and where it listens."""

    machine: Machine
    folder: Path
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    close_after_each: bool = False
    new_key_on_reconnect: bool = False
    sealed_key_status: int = 202
    runtime_status: int = 200
    cut_answer: bool = False
    port: int = 0
    seen: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0

    def context(self) -> tuple[ssl.SSLContext, bytes]:
        """Return a context with a key of its own, and the SHA-256 of its SPKI."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mantlet")])
        builder = x509.CertificateBuilder(name, name, key.public_key(), 1, FIRST, LAST)
        certificate = builder.sign(key, hashes.SHA256())
        path = self.folder / f"front-{len(list(self.folder.iterdir()))}.pem"
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(private + certificate.public_bytes(Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = context.maximum_version = self.version
        context.load_cert_chain(path)
        spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return context, hashlib.sha256(spki).digest()

    def answer(self, path: str, body: bytes, spki_sha256: bytes) -> tuple[int, bytes]:
        """Answer one request as the machine behind the front."""
        self.seen.append(path)
        self.bodies.append(body)
        match path.removeprefix("/.well-known/mantlet/"):
            case "evidence":
                nonce = bytes.fromhex(json.loads(body)["nonce"])
                return 200, evidence_format.encode(self.machine.evidence(nonce, spki_sha256))
            case "activate":
                return self._activate(json.loads(body))
            case "sealed-key":
                error = {"error": {"code": "not-awaiting", "message": "this machine awaits no key"}}
                return self.sealed_key_status, b"" if self.sealed_key_status == 202 else json.dumps(
                    error
                ).encode()
            case "status":
                return 200, b'{"code":"ok","stage":"serve"}'
            case _:
                return 404, b'{"error":{"code":"not-found","message":"no such path"}}'

    def _activate(self, body: dict[str, str]) -> tuple[int, bytes]:
        credential = Credential(
            credential_blob=base64.b64decode(body["credential_blob"]),
            encrypted_secret=base64.b64decode(body["encrypted_secret"]),
        )
        try:
            secret = self.machine.activate(credential)
        except MantletError as refusal:
            return 400, json.dumps({"error": {"code": "refused", "message": refusal.message}}).encode()
        return 200, json.dumps({"secret": base64.b64encode(secret).decode()}).encode()


@contextmanager
def served(front: Front) -> Iterator[Front]:
    """Serve `front` on loopback until the block ends."""
    server = _Server(front)
    front.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield front
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    # Joined at the end, so that no test leaves a thread or a socket to the next.
    daemon_threads = False

    def __init__(self, front: Front) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.front = front
        self.first = front.context()
        self.second = front.context()

    @override
    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that break off are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10
    server: _Server

    @override
    def setup(self) -> None:
        front = self.server.front
        front.connections += 1
        again = front.connections > 1 and front.new_key_on_reconnect
        context, self.spki_sha256 = self.server.second if again else self.server.first
        self.request = context.wrap_socket(self.request, server_side=True)
        super().setup()

    @override
    def finish(self) -> None:
        super().finish()
        self.request.close()

    @override
    def log_message(self, format: str, *arguments: object) -> None:
        """Tests are quiet."""

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body: bytes) -> None:
        front = self.server.front
        if self.path == "/v1/chat/completions" and front.runtime_status == 200:
            front.seen.append(self.path)
            front.bodies.append(body)
            self._stream(front)
            return
        status, answer = front.answer(self.path, body, self.spki_sha256)
        if self.path == "/v1/chat/completions":
            status, answer = front.runtime_status, b'{"error":{"code":"not-ready","message":"loading"}}'
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
        # Without a `Connection: close`: a server may close an idle connection whenever it likes.
        self.close_connection = front.close_after_each

    def _stream(self, front: Front) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for text in DELTAS:
            value = {"choices": [{"delta": {"content": text}}], "timings": {"predicted_ms": 0.5}}
            self._chunk(f"data: {json.dumps(value)}\n\n".encode())
        if front.cut_answer:
            self.close_connection = True
            return
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.flush()
