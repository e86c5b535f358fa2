# SPDX-License-Identifier: Apache-2.0
"""Tests of strict and canonical JSON."""

import json

import pytest

from mantlet_measure import strictjson
from mantlet_measure.errors import DecodeError
from mantlet_measure.strictjson import Fields


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"a":1,"a":1}', "each member once"),
        (b'{"a":{"b":1,"b":2}}', "each member once"),
        (b'{"a":1.0}', "integers only"),
        (b'{"a":1e3}', "integers only"),
        (b'{"a":NaN}', "integers only"),
        (b'{"a":9007199254740993}', "an integer within"),
        (b'{"a":' + b"9" * 5000 + b"}", "an integer within"),
        (b'{"a":"\xff"}', "UTF-8"),
        (b'{"a":"\\ud800"}', "text"),
        (b'\xef\xbb\xbf{"a":1}', "JSON"),
        (b'{"a":1} {}', "JSON"),
        (b'{"a":"\n"}', "JSON"),
        (b"", "JSON"),
        (b"[" * 100_000, "a flat document"),
    ],
)
def test_document_that_is_not_strict_is_refused(text: bytes, expected: str) -> None:
    with pytest.raises(DecodeError) as refused:
        strictjson.decode(text, what="sample")
    assert refused.value.expected.startswith(expected)
    assert refused.value.hint


def test_document_over_its_limit_is_refused() -> None:
    with pytest.raises(DecodeError, match="at most 3 bytes"):
        strictjson.decode(b"[  1]", what="sample", limit=3)


def test_syntax_error_names_the_byte_and_not_the_character() -> None:
    with pytest.raises(DecodeError) as refused:
        strictjson.decode('["é",?]'.encode(), what="sample")
    assert refused.value.offset == 6


def test_canonical_text_is_the_one_of_rfc_8785() -> None:
    # RFC 8785, 3.2.2 and 3.2.3: the strings and literals of its example, without its floats.
    strings = b'"\\u20ac$\\u000F\\u000aA\'\\u0042\\u0022\\u005c\\\\\\"\\/"'
    source = b'{"string": ' + strings + b', "literals": [null, true, false]}'
    canonical = '{"literals":[null,true,false],"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    assert strictjson.encode(strictjson.decode(source, what="sample")) == canonical.encode()


@pytest.mark.parametrize("value", [1.0, {1: 2}, {"é": 1}, b"x", {"a": {1, 2}}])
def test_value_without_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        strictjson.encode(value)


def test_integer_beyond_two_to_the_53_has_no_canonical_form() -> None:
    with pytest.raises(ValueError, match="holds integers"):
        strictjson.encode([(1 << 53) + 1])


@pytest.mark.parametrize(
    ("member", "read"),
    [
        ('"AA=="', lambda fields: fields.hex("m", 1)),
        ('"AB"', lambda fields: fields.hex("m", 1)),
        ('"abcd"', lambda fields: fields.hex("m", 1)),
        ('"AB=="', lambda fields: fields.base64("m", 1)),
        ('"AA"', lambda fields: fields.base64("m", 1)),
        ('"A A="', lambda fields: fields.base64("m", 8)),
        ('"é"', lambda fields: fields.base64("m", 8)),
        ('"AAAAAAAAAAAAAAAA"', lambda fields: fields.base64("m", 8)),
        ('"AAAA"', lambda fields: fields.base64("m", 1)),
        ("true", lambda fields: fields.integer("m", 0, 9)),
        ("10", lambda fields: fields.integer("m", 0, 9)),
        ('"1"', lambda fields: fields.integer("m", 0, 9)),
        ("1", lambda fields: fields.text("m")),
        ('"a\\n"', lambda fields: fields.text("m", pattern="a")),
        ('"aa"', lambda fields: fields.text("m", limit=1)),
        ("[]", lambda fields: fields.mapping("m")),
        ("[]", lambda fields: fields.fields("m")),
        ("{}", lambda fields: fields.sequence("m")),
        ("[1,2]", lambda fields: fields.sequence("m", limit=1)),
        ('"b"', lambda fields: fields.constant("m", "a")),
        ('"b"', lambda fields: fields.text("other")),
    ],
)
def test_member_of_another_type_or_shape_is_refused(member: str, read: object) -> None:
    fields = Fields(json.loads(f'{{"m":{member}}}'), "sample")
    assert callable(read)
    with pytest.raises(DecodeError, match="sample"):
        read(fields)


def test_unknown_member_is_refused() -> None:
    fields = Fields({"known": 1, "surprise": 2}, "sample")
    fields.integer("known", 0, 9)
    with pytest.raises(DecodeError, match="no other member, found 'surprise'"):
        fields.done()


def test_members_of_the_right_type_are_returned() -> None:
    fields = Fields({"t": "x", "i": 7, "h": "00ff", "b": "AP8=", "s": [1], "m": {"a": 1}}, "sample")
    assert (fields.text("t"), fields.integer("i", 7, 7)) == ("x", 7)
    assert fields.hex("h", 2) == fields.base64("b", 2) == b"\x00\xff"
    assert (list(fields.sequence("s")), dict(fields.mapping("m"))) == ([1], {"a": 1})
    fields.done()
