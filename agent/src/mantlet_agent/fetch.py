# SPDX-License-Identifier: Apache-2.0
"""The fetch process: gets a stream body over HTTPS and writes it to standard output, a pipe to `boot`.

Follows RFC 9110, 14 (range requests). Owns the one outward connection of the machine, and nothing else: no
key, no TPM, no file but the public deployment document, which `boot` has authenticated. TLS keeps who listens
from learning which model the machine loads; what comes is authenticated by who has the key. A connection that
breaks is taken up at the byte it broke at. No name is looked up and no redirection is followed.
"""

import http.client
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http import HTTPStatus

from mantlet_agent import files
from mantlet_agent.places import Places
from mantlet_measure import body, deployment, dsse
from mantlet_measure.errors import DecodeError, MantletError
from mantlet_measure.remote import Remote

_ENVELOPE_LIMIT = 1 << 20
_PIECE = 256 << 10
_SECONDS = 30.0
# Without a byte for so long, attempts and pauses included, there is no use in going on. An address by DHCP
# comes in this time too.
_PATIENCE = 180.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 8.0
# RFC 9110, 15.5.9 and 15.6; RFC 6585, 4: the same request may succeed later.
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(?:\d{1,18}|\*)")


class FetchError(MantletError):
    """A body that does not come from this server, however often it is asked."""


class _PassingError(Exception):
    """An answer that may be another one later."""


def download(
    remote: Remote,
    size: int,
    *,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[bytes]:
    """Yield the `size` bytes of the body in the disk image `remote`, in order. FetchError.

    clock, pause: seconds; pause waits.
    """
    context = _context(remote)
    done, wait, deadline, problem = 0, _FIRST_PAUSE, clock() + _PATIENCE, ""
    while done < size:
        try:
            with closing(_connect(remote, context)) as connection:
                answer = _ask(connection, remote, body.OFFSET + done, body.OFFSET + size - 1)
                while piece := answer.read(min(_PIECE, size - done)):
                    yield piece
                    done += len(piece)
                    wait, deadline = _FIRST_PAUSE, clock() + _PATIENCE
            problem = "the connection ended too early"
        except ssl.SSLCertVerificationError as error:
            raise _refusal(remote, "a certificate of the document's authorities", str(error)) from error
        except (OSError, http.client.HTTPException, _PassingError) as error:
            problem = str(error) or type(error).__name__
        if done < size:
            if clock() > deadline:
                raise _refusal(remote, f"{size} bytes", f"{done}: {problem}")
            pause(wait)
            wait = min(2 * wait, _LONGEST_PAUSE)


def _context(remote: Remote) -> ssl.SSLContext:
    """TLS that trusts the document's certificates and no other, each of them as the end of a chain."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        for certificate in remote.authorities:
            context.load_verify_locations(cadata=certificate)
    except ssl.SSLError as error:
        raise _refusal(remote, "DER certificates as authorities", str(error)) from error
    return context


def _connect(remote: Remote, context: ssl.SSLContext) -> http.client.HTTPSConnection:
    connection = http.client.HTTPSConnection(remote.host, remote.port, timeout=_SECONDS, context=context)
    plain = socket.socket(socket.AF_INET)
    try:
        plain.settimeout(_SECONDS)
        plain.connect((remote.address, remote.port))
        # With a socket it does not look the host up to make one.
        connection.sock = context.wrap_socket(plain, server_hostname=remote.host)
    except BaseException:
        plain.close()
        raise
    return connection


def _ask(
    connection: http.client.HTTPSConnection, remote: Remote, first: int, last: int
) -> http.client.HTTPResponse:
    """Ask for a range, and hold the answer to it."""
    headers = {"Range": f"bytes={first}-{last}", "Accept-Encoding": "identity", "User-Agent": "mantlet"}
    connection.request("GET", remote.target, headers=headers)
    answer = connection.getresponse()
    if answer.status in _PASSING:
        raise _PassingError(f"status {answer.status}")
    if answer.status != HTTPStatus.PARTIAL_CONTENT:
        raise _refusal(remote, "status 206", str(answer.status))
    said = answer.headers.get("Content-Range", "none")
    found = _RANGE.fullmatch(said)
    if found is None or int(found[1]) != first:
        raise _refusal(remote, f"the bytes from {first} on", said)
    return answer


def _refusal(remote: Remote, expected: str, found: str) -> FetchError:
    return FetchError(
        f"{remote.url}: expected {expected}, found {found}",
        hint="check URL, address and authorities in the deployment document: mantlet deploy",
    )


def read_document(envelope: bytes) -> tuple[Remote, int]:
    """Return from where the body comes, and its size, out of an envelope that was authenticated before.

    DecodeError unless it names both.
    """
    document = deployment.decode(dsse.decode(envelope).payload)
    if document.fetch is None or document.model.stream is None:
        raise DecodeError("deployment document", expected="a body that is fetched", found="one on a disk")
    return document.fetch, document.model.stream.size


def main() -> int:
    """Write the body that the deployment document names to standard output."""
    try:
        remote, size = read_document(files.read(Places().envelope, limit=_ENVELOPE_LIMIT))
        for piece in download(remote, size):
            files.write_all(1, piece)
    except (OSError, MantletError):
        return 1
    return 0
