# SPDX-License-Identifier: Apache-2.0
"""The completion stream: what is read out of server-sent events, and what is refused."""

import json

import pytest

from mantlet.client.chat import ask, deltas, encode_request, events
from mantlet.client.transport import Response, Stream
from mantlet_measure.errors import DecodeError, MantletError, UnavailableError


class Canned:
    """A transport that gives one canned answer, in pieces."""

    tls_spki_sha256 = bytes(32)

    def __init__(self, status: int, *chunks: bytes) -> None:
        self._stream = Stream(status=status, chunks=iter(chunks))

    def request(self, method: str, path: str, body: bytes | None = None, *, limit: int) -> Response:
        raise AssertionError("a completion is streamed")

    def stream(self, method: str, path: str, body: bytes, *, limit: int) -> Stream:
        assert (method, path) == ("POST", "/v1/chat/completions")
        return self._stream


def event(text: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": {"content": text}}], "t": 0.5}).encode() + b"\n\n"


def test_the_text_of_each_event_comes_in_order() -> None:
    transport = Canned(200, event("Hello"), event(" world"), b"data: [DONE]\n\n")
    assert list(ask(transport, "Hi", model="tiny")) == ["Hello", " world"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_pieces_may_end_anywhere_even_inside_a_character(size: int) -> None:
    data = event("“naïve”") + b": a comment\n\n" + event(" 4") + b"data: [DONE]\n\n"
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    assert "".join(deltas(iter(pieces))) == "“naïve” 4"


def test_data_of_several_lines_is_joined_and_other_fields_are_passed_over() -> None:
    assert list(events(iter([b"id: 1\r\ndata: a\r\ndata:b\r\n\r\nevent: x\r\n\r\n"]))) == ["a\nb"]


def test_an_event_without_text_says_nothing() -> None:
    role = b'data: {"choices":[{"delta":{"role":"assistant","content":null}}]}\n\n'
    usage = b'data: {"choices":[],"usage":{"total_tokens":3}}\n\n'
    assert list(deltas(iter([role, usage, b"data: [DONE]\n\n"]))) == []


def test_an_answer_that_ends_before_done_is_refused() -> None:
    with pytest.raises(DecodeError, match=r"expected the event \[DONE\]"):
        list(deltas(iter([event("Hello")])))


@pytest.mark.parametrize(
    "data", [b"data: {\n\n", b'data: "x"\n\n', b'data: {"error":"x"}\n\n', b"data: \xff\n\n"]
)
def test_an_event_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError, match="completion"):
        list(deltas(iter([data])))


def test_a_line_without_end_is_refused() -> None:
    with pytest.raises(DecodeError, match="lines of at most"):
        list(deltas(iter([b"data: ", b"x" * (1 << 20)])))


def test_a_runtime_that_is_still_loading_could_not_be_asked() -> None:
    body = b'{"error":{"code":"not-ready","message":"loading"}}'
    with pytest.raises(UnavailableError, match="not-ready: loading"):
        ask(Canned(503, body), "Hi", model="tiny")


def test_a_refused_prompt_is_a_refusal() -> None:
    with pytest.raises(MantletError, match="found 400") as caught:
        ask(Canned(400, b"x" * 100_000), "Hi", model="tiny")
    assert not isinstance(caught.value, UnavailableError)


def test_the_request_is_a_streamed_completion_of_one_message() -> None:
    assert json.loads(encode_request("“Hi”", model="tiny", max_tokens=5)) == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "“Hi”"}],
        "stream": True,
        "max_tokens": 5,
        "temperature": 0,
    }
