# SPDX-License-Identifier: Apache-2.0
"""An HTTPS server on loopback that gives ranges of one resource, honestly or not (RFC 9110, 14)."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from typing_extensions import override

from tests.authority import FIRST, LAST

# Its name beside its address, for who is told where that is.
HOST = "store.test"


@dataclass(kw_only=True)
class Resource:
    """What is served, how the server misbehaves, and what was asked of it.

    drop_after: bytes of a body after which the connection is closed, as often as `drops` says, -1 for always.
    statuses: given instead of a range, one a request. gone_after: requests, after which it is not to be had.
    shift: added to the start of the range that is given.
    """

    content: bytes
    etag: str | None = '"one"'
    etag_after: int | None = None
    drop_after: int | None = None
    drops: int = 0
    statuses: list[int] = field(default_factory=list)
    gone_after: int | None = None
    shift: int = 0
    longest: int | None = None
    ignores_ranges: bool = False
    total: int | None = None
    redirect: str | None = None
    redirections: int = 0
    asked: list[str] = field(default_factory=list)
    url: str = ""
    port: int = 0
    authority: Path = Path()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    resource: Resource

    def do_GET(self) -> None:
        wanted = self.resource
        said = self.headers["Range"]
        wanted.asked.append(said)
        if wanted.redirections and wanted.redirect is not None:
            wanted.redirections -= 1
            self._end(302, {"Location": wanted.redirect})
            return
        if wanted.statuses:
            self._end(wanted.statuses.pop(0), {})
            return
        if wanted.gone_after is not None and len(wanted.asked) > wanted.gone_after:
            self._end(503, {})
            return
        first, _, last = said.removeprefix("bytes=").partition("-")
        start, limit = int(first), int(last) + 1 if last else len(wanted.content)
        if wanted.ignores_ranges:
            self._give(200, wanted.content, {})
            return
        start += wanted.shift
        end = limit if wanted.longest is None else start + wanted.longest
        part = wanted.content[start:end]
        total = len(wanted.content) if wanted.total is None else wanted.total
        etag = wanted.etag if wanted.etag_after is None or len(wanted.asked) <= wanted.etag_after else '"two"'
        headers = {"Content-Range": f"bytes {start}-{start + len(part) - 1}/{total}"}
        self._give(206, part, headers | ({} if etag is None else {"ETag": etag}))

    def _end(self, status: int, headers: dict[str, str]) -> None:
        self._give(status, b"", headers)

    def _give(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        wanted = self.resource
        if wanted.drop_after is not None and wanted.drops and body:
            wanted.drops -= 1
            body = body[: wanted.drop_after]
            self.close_connection = True
        try:
            self.wfile.write(body)
        except OSError:
            self.close_connection = True  # the reader has left, and may

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    @override
    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: readers hang up, and refuse certificates."""


def _certificate(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "range server")])
    here = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName(HOST)])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, FIRST, LAST).add_extension(here, False)
    path = folder / "server.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    return path


@contextmanager
def serving(resource: Resource, folder: Path) -> Iterator[Resource]:
    """Serve the resource for the block; its `url`, `port` and the PEM file of its `authority` are set."""
    resource.authority = _certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(resource.authority)
    handler = type("Handler", (_Handler,), {"resource": resource})
    server = _Server(("127.0.0.1", 0), handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    resource.port = server.server_address[1]
    resource.url = f"https://127.0.0.1:{resource.port}/pack.raw?signed=yes"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield resource
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
