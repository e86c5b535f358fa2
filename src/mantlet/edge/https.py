# SPDX-License-Identifier: Apache-2.0
"""One attested connection: TLS 1.3 to a key that is taken from the handshake and held to for ever after.

Implements `mantlet.client.transport.Transport`. The certificate chain is not checked: trust in the key comes
from the evidence, which names it (docs/formats.md). Should the connection have to be made anew, the new peer
must hold the same key before a byte of a request is sent. Nothing here decides whether the key is a good one.
"""

import argparse
import hashlib
import http.client
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from typing_extensions import override

from mantlet.client.transport import Response, Stream
from mantlet_measure.errors import MantletError, UnavailableError

_CHUNK = 64 << 10
_AGENT = "mantlet"
# How a kept connection shows that the server has closed it; RemoteDisconnected is a ConnectionResetError.
_CLOSED = (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError, ssl.SSLZeroReturnError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a machine listens."""

    host: str
    port: int

    @override
    def __str__(self) -> str:
        """HOST:PORT, with brackets around an IPv6 address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def address(text: str) -> Address:
    """Read `https://HOST[:PORT]` or `HOST[:PORT]`, as an argparse type. Port 443 when none is given."""
    url = text if "://" in text else f"https://{text}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None
    if parts.scheme != "https" or not host or parts.path not in ("", "/"):
        raise argparse.ArgumentTypeError(f"expected https://HOST:PORT, found {text!r}")
    if parts.query or parts.fragment or parts.username is not None:
        raise argparse.ArgumentTypeError(f"expected https://HOST:PORT and nothing more, found {text!r}")
    return Address(host=host, port=443 if port is None else port)


class AttestedConnection:
    """A connection to one TLS key; a context manager. `timeout` is in seconds, for each wait on the
    network."""

    def __init__(self, where: Address, *, timeout: float) -> None:
        """Connect and take the peer's key. UnavailableError when nobody answers, MantletError when TLS 1.3
        fails."""
        self._where = where
        self._timeout = timeout
        self._http = http.client.HTTPConnection(where.host, where.port, timeout=timeout)
        # No connection is made behind our back: a new one goes through _connect, which holds the key to the
        # first.
        self._http.auto_open = 0
        self._tls_spki_sha256: bytes | None = None
        self._connect()

    def __enter__(self) -> "AttestedConnection":
        """Return the connection."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self._http.close()

    @property
    def tls_spki_sha256(self) -> bytes:
        """SHA-256 of the SubjectPublicKeyInfo that the peer proved to hold in the handshake."""
        if self._tls_spki_sha256 is None:
            raise AssertionError("a connection has a peer")
        return self._tls_spki_sha256

    def request(self, method: str, path: str, body: bytes | None = None, *, limit: int) -> Response:
        """Send a request and read an answer of at most `limit` bytes."""
        response = self._send(method, path, body)
        data = b"".join(self._read(response, limit))
        return Response(status=response.status, body=data)

    def stream(self, method: str, path: str, body: bytes, *, limit: int) -> Stream:
        """Send a request and read an answer of at most `limit` bytes as it arrives."""
        response = self._send(method, path, body)
        return Stream(status=response.status, chunks=self._read(response, limit))

    def _send(self, method: str, path: str, body: bytes | None) -> http.client.HTTPResponse:
        headers = {"Accept": "application/json, text/event-stream", "User-Agent": _AGENT}
        if body is not None:
            headers["Content-Type"] = "application/json"
        kept = self._http.sock is not None
        while True:
            if not kept:
                self._connect()
            try:
                self._http.request(method, path, body=body, headers=headers)
                return self._http.getresponse()
            except (OSError, http.client.HTTPException) as error:
                self._http.close()
                # A kept connection that the server closed while it was idle: not one byte of an answer came.
                if not (kept and isinstance(error, _CLOSED)):
                    raise self._failure(error) from error
                kept = False

    def _read(self, response: http.client.HTTPResponse, limit: int) -> Iterator[bytes]:
        total = 0
        while True:
            try:
                chunk = response.read1(_CHUNK)
            except (OSError, http.client.HTTPException) as error:
                self._http.close()
                raise self._failure(error) from error
            if not chunk:
                break
            total += len(chunk)
            if total > limit:
                self._http.close()
                raise MantletError(
                    f"answer of {self._where}: expected at most {limit} bytes, found more",
                    hint="check that the address is that of a Mantlet machine",
                )
            yield chunk
        if response.length:
            self._http.close()
            raise self._failure(http.client.IncompleteRead(b"", response.length))
        # read1 does not see that it has reached the end; only then is the connection free for the next
        # request.
        response.close()

    def _connect(self) -> None:
        """Connect, and hold the peer to the key of the first connection before anything is sent."""
        try:
            plain = socket.create_connection((self._where.host, self._where.port), timeout=self._timeout)
        except OSError as error:
            raise self._failure(error) from error
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            secured = _context().wrap_socket(plain, server_hostname=self._where.host)
        except (ValueError, OSError) as error:
            plain.close()
            raise self._failure(error) from error
        found = _spki_sha256(secured)
        if found is None or self._tls_spki_sha256 not in (None, found):
            secured.close()
            raise MantletError(
                f"TLS key of {self._where}: expected "
                f"{'a certificate' if self._tls_spki_sha256 is None else self._tls_spki_sha256.hex()}, "
                f"found {'none that can be read' if found is None else found.hex()}; nothing was sent to it",
                hint="the machine has rebooted, or somebody stands between: verify it again from the start",
            )
        self._tls_spki_sha256 = found
        self._http.sock = secured

    def _failure(self, error: Exception) -> MantletError:
        """Tell what could not be asked from what answered wrongly."""
        hint = f"check that the machine is up and that {self._where} is its address and port"
        match error:
            case socket.gaierror():
                return UnavailableError(f"{self._where.host}: no such host ({error.strerror})", hint=hint)
            case TimeoutError():
                return UnavailableError(
                    f"{self._where}: no answer within {self._timeout:g} s",
                    hint="a machine under emulation can take long: try again with a larger --timeout",
                )
            case (
                ssl.SSLEOFError()
                | ssl.SSLZeroReturnError()
                | ConnectionError()
                | http.client.IncompleteRead()
            ):
                return UnavailableError(
                    f"{self._where}: the connection was refused or closed ({error})",
                    hint=f"{hint}; while it boots, nothing listens",
                )
            case ssl.SSLError() | ValueError() | http.client.HTTPException():
                return MantletError(
                    f"{self._where}: expected HTTP over TLS 1.3, found {error}",
                    hint="check that the address is that of a Mantlet machine",
                )
            case _:
                return UnavailableError(f"{self._where}: {error}", hint=hint)


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # The key is judged by the evidence that names it, not by who signed its certificate: see the module's
    # docstring.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _spki_sha256(secured: ssl.SSLSocket) -> bytes | None:
    certificate = secured.getpeercert(binary_form=True)
    if certificate is None:
        return None
    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
    except (ValueError, x509.InvalidVersion, UnsupportedAlgorithm):
        return None
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
