# SPDX-License-Identifier: Apache-2.0
"""One chat completion, streamed: the OpenAI-compatible request, and the server-sent events that answer it.

Follows the WHATWG HTML standard, 9.2.6 *Interpreting an event stream*, as far as such answers use it. The
answers are ordinary JSON with floats, made by a runtime that is measured but not ours: read with limits, and
never believed.
"""

import json
from collections.abc import Iterator

from mantlet.client.transport import Response, Transport, expect
from mantlet_measure.errors import DecodeError, shown

COMPLETIONS_PATH = "/v1/chat/completions"
_LINE_LIMIT = 1 << 20
_ANSWER_LIMIT = 64 << 20
_ERROR_LIMIT = 64 << 10
_DONE = "[DONE]"
_WHAT = "completion"


def ask(transport: Transport, prompt: str, *, model: str, max_tokens: int | None = None) -> Iterator[str]:
    """Send one prompt and yield the answer's text as it comes. Raises like `transport.expect`, and
    DecodeError."""
    body = encode_request(prompt, model=model, max_tokens=max_tokens)
    stream = transport.stream("POST", COMPLETIONS_PATH, body, limit=_ANSWER_LIMIT)
    if stream.status != 200:
        said = b""
        for chunk in stream.chunks:
            said += chunk
            if len(said) >= _ERROR_LIMIT:
                break
        expect(Response(status=stream.status, body=said), 200, what=_WHAT)
    return deltas(stream.chunks)


def encode_request(prompt: str, *, model: str, max_tokens: int | None) -> bytes:
    """Encode the request of a streamed completion with one user message; the likeliest answer is wanted."""
    request: dict[str, object] = {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "stream": True,
        "temperature": 0,
    }
    if max_tokens is not None:
        request["max_tokens"] = max_tokens
    return json.dumps(request, ensure_ascii=False).encode("utf-8")


def deltas(chunks: Iterator[bytes]) -> Iterator[str]:
    """Yield the text of each event of a completion stream, up to its [DONE]. DecodeError if it ends before
    that."""
    for data in events(chunks):
        if data == _DONE:
            return
        text = _delta(data)
        if text:
            yield text
    raise DecodeError(
        _WHAT,
        expected=f"the event {_DONE}",
        found="the end of the answer",
        hint="the answer was cut off: ask again",
    )


def events(chunks: Iterator[bytes]) -> Iterator[str]:
    """Yield the data of each server-sent event; other fields and comments are passed over."""
    data: list[str] = []
    for line in _lines(chunks):
        if not line:
            if data:
                yield "\n".join(data)
            data = []
        elif line.startswith("data:"):
            # 9.2.6: one space after the colon belongs to the syntax.
            data.append(line[5:].removeprefix(" "))


def _lines(chunks: Iterator[bytes]) -> Iterator[str]:
    pending = b""
    for chunk in chunks:
        *complete, pending = (pending + chunk).split(b"\n")
        for line in complete:
            yield _text(line.removesuffix(b"\r"))
        if len(pending) > _LINE_LIMIT:
            raise DecodeError(_WHAT, expected=f"lines of at most {_LINE_LIMIT} bytes", found="a longer one")


def _text(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DecodeError(_WHAT, expected="UTF-8", found=error.reason) from None


def _delta(data: str) -> str:
    """Return choices[0].delta.content of one event, or nothing where the event has none."""
    try:
        value = json.loads(data)
    except (json.JSONDecodeError, RecursionError):
        raise DecodeError(_WHAT, expected="an event in JSON", found=shown(data)) from None
    match value:
        case {"choices": [{"delta": {"content": str(text)}}, *_]}:
            return text
        case {"choices": list()}:
            return ""
        case _:
            raise DecodeError(_WHAT, expected="an event with choices", found=shown(value))
