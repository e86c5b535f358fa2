# SPDX-License-Identifier: Apache-2.0
"""The HTTP/1.1 (RFC 9112) that the front speaks to `serve`: one request, one answer, then closed.

Owns parsing with limits and the form of answers. Pure: it is given bytes and returns bytes. The front has
already taken requests apart and put them together again; this refuses whatever does not look like its work.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from mantlet_measure import strictjson

HEAD_LIMIT = 8192
_HEAD_END = b"\r\n\r\n"


class Status(IntEnum):
    """Status codes that `serve` gives."""

    OK = 200
    ACCEPTED = 202
    BAD_REQUEST = 400
    NOT_FOUND = 404
    CONFLICT = 409
    TOO_LARGE = 413
    UNAVAILABLE = 503


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Method, target without query, and body."""

    method: str
    target: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """Status and JSON body."""

    status: Status
    body: bytes


class RequestError(Exception):
    """A request that gets an answer other than what it asked for."""

    def __init__(self, status: Status, code: str, message: str) -> None:
        """Take the status, the machine-readable code and the sentence for people."""
        super().__init__(message)
        self.status = status
        self.code = code


def receive(read: Callable[[int], bytes], *, limit: int) -> Request:
    """Read one request; `read(n)` gives at most n bytes, none at the end. RequestError."""
    received = b""
    while _HEAD_END not in received:
        chunk = read(HEAD_LIMIT)
        received += chunk
        if not chunk or len(received) > HEAD_LIMIT + limit:
            raise _malformed("expected a request head of at most 8192 bytes")
    head, _, body = received.partition(_HEAD_END)
    method, target, headers = _head(head)
    length = _content_length(headers)
    if length > limit:
        raise RequestError(
            Status.TOO_LARGE, "too-large", f"expected a body of at most {limit} bytes, found {length}"
        )
    while len(body) < length:
        chunk = read(length - len(body))
        if not chunk:
            raise _malformed(f"expected a body of {length} bytes, found {len(body)}")
        body += chunk
    if len(body) > length:
        raise _malformed("expected one request, found more bytes")
    return Request(method=method, target=target, body=body)


def _head(head: bytes) -> tuple[str, str, Mapping[str, str]]:
    if len(head) > HEAD_LIMIT:
        raise _malformed("expected a request head of at most 8192 bytes")
    try:
        first, *lines = head.decode("ascii").split("\r\n")
        method, target, version = first.split(" ")
    except ValueError:
        raise _malformed("expected METHOD TARGET VERSION") from None
    if version not in ("HTTP/1.0", "HTTP/1.1"):
        raise _malformed("expected HTTP/1.1")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        name = name.lower()
        # RFC 9112, 5.1: no white space between the name and the colon; 6.3: no second Content-Length.
        if not colon or not name or name != name.strip() or (name in headers and name == "content-length"):
            raise _malformed("expected NAME: VALUE, once for Content-Length")
        headers[name] = value.strip(" \t")
    return method, target.partition("?")[0], headers


def _content_length(headers: Mapping[str, str]) -> int:
    # The front announces the length of the body it holds. RFC 9112, 6.1: both at once mean smuggling.
    if "transfer-encoding" in headers:
        raise _malformed("expected no Transfer-Encoding")
    text = headers.get("content-length", "0")
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise _malformed("expected Content-Length to be a number")
    return int(text)


def _malformed(message: str) -> RequestError:
    return RequestError(Status.BAD_REQUEST, "malformed", message)


def answer(status: Status, value: object) -> Response:
    """Return an answer whose body is the canonical JSON of `value`."""
    return Response(status=status, body=strictjson.encode(value))


def refusal(error: RequestError) -> Response:
    """Return the answer that tells an error (docs/formats.md, *Evidence*, last paragraph)."""
    return answer(error.status, {"error": {"code": error.code, "message": str(error)}})


def encode(response: Response) -> bytes:
    """Return the bytes of an answer."""
    phrase = response.status.name.replace("_", " ").title()
    head = (
        f"HTTP/1.1 {response.status.value} {phrase}\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(response.body)}\r\n"
        "Cache-Control: no-store\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode("ascii") + response.body
