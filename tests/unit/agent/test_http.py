# SPDX-License-Identifier: Apache-2.0
"""Requests as the front sends them, and as an attacker would if the front let him."""

from collections.abc import Callable

import pytest

from mantlet_agent import http
from mantlet_agent.http import Request, RequestError, Status

LIMIT = 1000


def pieces(*chunks: bytes) -> Callable[[int], bytes]:
    left = list(chunks)

    def read(size: int) -> bytes:
        if not left:
            return b""
        chunk = left.pop(0)
        if len(chunk) > size:
            left.insert(0, chunk[size:])
        return chunk[:size]

    return read


def receive(*chunks: bytes) -> Request:
    return http.receive(pieces(*chunks), limit=LIMIT)


def refused(*chunks: bytes) -> Status:
    with pytest.raises(RequestError) as error:
        receive(*chunks)
    return error.value.status


def test_a_request_is_taken_whole() -> None:
    request = receive(b"POST /a/b?c=d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc")
    assert request == Request(method="POST", target="/a/b", body=b"abc")


def test_a_request_in_single_bytes_is_the_same_request() -> None:
    whole = b"POST /x HTTP/1.0\r\ncontent-LENGTH:  2 \r\n\r\nab"
    assert receive(*(whole[i : i + 1] for i in range(len(whole)))) == receive(whole)


def test_a_body_at_the_limit_passes_and_one_byte_more_does_not() -> None:
    head = "POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n"
    assert receive(head.format(LIMIT).encode() + bytes(LIMIT)).body == bytes(LIMIT)
    assert refused(head.format(LIMIT + 1).encode()) is Status.TOO_LARGE


def test_a_huge_announced_body_is_refused_before_it_is_read() -> None:
    assert refused(b"POST / HTTP/1.1\r\nContent-Length: 999999999\r\n\r\n") is Status.TOO_LARGE


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"",
        b"GET / HTTP/1.1\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/2\r\n\r\n",
        b"GET  / HTTP/1.1\r\n\r\n",
        b"G\xc3\x89T / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nName : value\r\n\r\n",
        b"GET / HTTP/1.1\r\n folded: value\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nab",
        b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 0x1\r\n\r\na",
        b"POST / HTTP/1.1\r\nContent-Length: \xb9\r\n\r\na",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    ],
)
def test_a_malformed_request_is_refused(request_bytes: bytes) -> None:
    assert refused(request_bytes) is Status.BAD_REQUEST


def test_a_head_without_end_is_cut_off() -> None:
    assert refused(*[b"x" * 4096] * 100) is Status.BAD_REQUEST


def test_an_answer_announces_its_length_and_closes() -> None:
    response = http.encode(http.answer(Status.CONFLICT, {"a": 1}))
    head, _, body = response.partition(b"\r\n\r\n")
    assert head.splitlines()[0] == b"HTTP/1.1 409 Conflict"
    assert f"Content-Length: {len(body)}".encode() in head.splitlines()
    assert b"Connection: close" in head.splitlines()
    assert body == b'{"a":1}'
