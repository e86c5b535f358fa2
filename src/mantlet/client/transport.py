# SPDX-License-Identifier: Apache-2.0
"""What the client asks of a connection, and what an answer must look like before its body is read.

The protocol is implemented by `mantlet.edge.https`. An HTTP status other than the expected one becomes a
refusal here, or an UnavailableError when the front says that what is behind it is not there yet.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from mantlet_measure import strictjson
from mantlet_measure.errors import DecodeError, MantletError, UnavailableError
from mantlet_measure.strictjson import Fields

_NOT_YET = (502, 503, 504)
_SHOWN = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A whole answer."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """An answer whose body comes in pieces, as they arrive."""

    status: int
    chunks: Iterator[bytes]


class Transport(Protocol):
    """One connection to one TLS key. `limit` is the largest body that is read, in bytes."""

    @property
    def tls_spki_sha256(self) -> bytes:
        """SHA-256 of the SubjectPublicKeyInfo that the peer proved to hold in the handshake."""
        ...

    def request(self, method: str, path: str, body: bytes | None = None, *, limit: int) -> Response:
        """Send a request on this connection and read the whole answer."""
        ...

    def stream(self, method: str, path: str, body: bytes, *, limit: int) -> Stream:
        """Send a request on this connection and read the answer as it arrives."""
        ...


def expect(response: Response, status: int, *, what: str) -> bytes:
    """Return the body of an answer with this status. UnavailableError on 502 to 504, MantletError on any
    other."""
    if response.status == status:
        return response.body
    said = error_text(response.body)
    if response.status in _NOT_YET:
        raise UnavailableError(
            f"{what}: expected HTTP {status}, found {response.status} ({said})",
            hint="the machine is up, but not that far: try again in a minute",
        )
    raise MantletError(
        f"{what}: expected HTTP {status}, found {response.status} ({said})",
        hint="check that the address is that of a Mantlet machine, and look at its stage with "
        "GET /.well-known/mantlet/status",
    )


def error_text(body: bytes) -> str:
    """Return what an error body says of itself: code and message, or its first printable characters."""
    try:
        fields = Fields(strictjson.decode(body, what="error"), "error").fields("error")
        return ascii(f"{fields.text('code')}: {fields.text('message')}")[1 : _SHOWN + 1]
    except DecodeError:
        return ascii(body[:_SHOWN].decode("latin-1"))
