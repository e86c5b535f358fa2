# SPDX-License-Identifier: Apache-2.0
"""Tests of envelopes and of the threshold of their signatures."""

import dataclasses

import pytest

from mantlet_measure import dsse, strictjson
from mantlet_measure.errors import DecodeError
from tests.unit.measure.samples import OTHER_KEY, RELEASE_KEY, envelope

TYPE = "application/vnd.mantlet.deployment+json"
RELEASE, OTHER = RELEASE_KEY.public_key(), OTHER_KEY.public_key()


def test_pre_authentication_encoding_is_the_one_of_the_dsse_protocol() -> None:
    # The example of secure-systems-lab/dsse, protocol.md.
    assert dsse.pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_signed_envelope_yields_its_payload() -> None:
    decoded = dsse.decode(dsse.encode(envelope()))
    assert dsse.authenticate(decoded, keys=[OTHER, RELEASE], payload_type=TYPE) == envelope().payload


def test_unsigned_envelope_is_refused() -> None:
    unsigned = dataclasses.replace(envelope(), signatures=())
    with pytest.raises(dsse.SignatureError, match="no signature"):
        dsse.authenticate(unsigned, keys=[RELEASE], payload_type=TYPE)


def test_envelope_signed_by_a_foreign_key_is_refused() -> None:
    with pytest.raises(dsse.SignatureError, match="found 0"):
        dsse.authenticate(envelope(), keys=[OTHER], payload_type=TYPE)


def test_envelope_is_refused_when_nobody_is_trusted() -> None:
    with pytest.raises(dsse.SignatureError, match="0 trusted keys"):
        dsse.authenticate(envelope(), keys=[], payload_type=TYPE)


def test_payload_swapped_under_a_signature_is_refused() -> None:
    with pytest.raises(dsse.SignatureError, match="does not match the payload"):
        dsse.authenticate(dataclasses.replace(envelope(), payload=b"{}"), keys=[RELEASE], payload_type=TYPE)


def test_envelope_of_another_payload_type_is_refused() -> None:
    with pytest.raises(dsse.SignatureError, match="payload type"):
        dsse.authenticate(envelope(), keys=[RELEASE], payload_type="application/other")


def test_payload_type_changed_after_signing_is_refused() -> None:
    changed = dataclasses.replace(envelope(), payload_type="application/other")
    with pytest.raises(dsse.SignatureError, match="does not match"):
        dsse.authenticate(changed, keys=[RELEASE], payload_type="application/other")


def test_one_key_signing_twice_does_not_make_two() -> None:
    twice = dsse.sign(TYPE, b"x", [RELEASE_KEY, RELEASE_KEY])
    with pytest.raises(DecodeError, match="one signature a key"):
        dsse.decode(dsse.encode(twice))
    with pytest.raises(dsse.SignatureError, match="expected 2"):
        dsse.authenticate(twice, keys=[RELEASE, OTHER], payload_type=TYPE, threshold=2)


def test_two_keys_meet_a_threshold_of_two() -> None:
    both = dsse.sign(TYPE, b"x", [RELEASE_KEY, OTHER_KEY])
    assert dsse.authenticate(both, keys=[RELEASE, OTHER], payload_type=TYPE, threshold=2) == b"x"


def test_signatures_of_unknown_keys_count_for_nothing() -> None:
    both = dsse.sign(TYPE, b"x", [OTHER_KEY, RELEASE_KEY])
    assert dsse.authenticate(both, keys=[RELEASE], payload_type=TYPE) == b"x"
    with pytest.raises(dsse.SignatureError):
        dsse.authenticate(both, keys=[RELEASE], payload_type=TYPE, threshold=2)


def test_threshold_of_zero_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="accept anything"):
        dsse.authenticate(envelope(), keys=[RELEASE], payload_type=TYPE, threshold=0)


def test_unknown_member_beside_the_signature_is_refused() -> None:
    value = {**dsse.to_value(envelope()), "comment": "hello"}
    with pytest.raises(DecodeError, match="no other member"):
        dsse.decode(strictjson.encode(value))
