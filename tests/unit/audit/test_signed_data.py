# SPDX-License-Identifier: Apache-2.0
"""A signature is worth what its own bytes and the certificates at hand say, and never more."""

import pytest
from cryptography.hazmat.primitives.serialization.pkcs7 import PKCS7Options
from hypothesis import given
from hypothesis import strategies as st

from mantlet.audit import signed_data
from mantlet.audit.image import Signature
from mantlet.audit.signed_data import Verdict
from mantlet_measure.errors import DecodeError
from tests.unit.audit import signed

CONTENT = b"what was signed"
TRUSTED = (signed.certificate("another"), signed.certificate())
DETACHED = signed.detached(CONTENT)


def judged(blob: bytes, content: bytes | None = CONTENT) -> Verdict:
    return signed_data.judge(blob, content, TRUSTED, what="signature")


@pytest.mark.parametrize("name", ["audit", signed.FIRMWARE])
@pytest.mark.parametrize(
    "options",
    [
        (PKCS7Options.DetachedSignature, PKCS7Options.NoAttributes, PKCS7Options.NoCerts),
        (PKCS7Options.DetachedSignature, PKCS7Options.NoAttributes),
        (PKCS7Options.DetachedSignature,),
        (),
    ],
    ids=len,
)
def test_a_signature_by_a_trusted_key_is_sound_in_each_form(
    options: tuple[PKCS7Options, ...], name: str
) -> None:
    blob = signed.message(CONTENT, *options, name=name)
    trusted = (signed.certificate("another"), signed.certificate(name))
    verdict = signed_data.judge(blob, CONTENT, trusted, what="signature")
    assert verdict.signature is Signature.SOUND
    assert verdict.signer.startswith("CN=")


def test_a_message_with_its_content_is_judged_over_that() -> None:
    assert judged(signed.message(CONTENT), None) == Verdict(signature=Signature.SOUND, signer="CN=audit")


def test_a_signature_under_a_certificate_that_came_along_is_foreign() -> None:
    blob = signed.message(CONTENT, PKCS7Options.DetachedSignature, name="stranger")
    assert judged(blob) == Verdict(signature=Signature.FOREIGN, signer="CN=stranger")


def test_a_signature_by_somebody_whose_certificate_is_not_there_is_unknown() -> None:
    assert judged(signed.detached(CONTENT, name="stranger")) == Verdict(signature=Signature.UNKNOWN)


@pytest.mark.parametrize(
    "options", [(), (PKCS7Options.NoAttributes, PKCS7Options.NoCerts)], ids=["attributes", "none"]
)
def test_attack_by_other_content_under_a_true_signature_is_broken(options: tuple[PKCS7Options, ...]) -> None:
    blob = signed.message(CONTENT, *options)
    assert judged(blob, CONTENT + b"!") == Verdict(signature=Signature.BROKEN, signer="CN=audit")


def test_attack_by_a_detached_signature_that_is_judged_over_nothing_is_broken() -> None:
    assert judged(DETACHED, None).signature is Signature.BROKEN


@given(place=st.integers(0, len(CONTENT) * 8 - 1))
def test_attack_by_one_flipped_bit_of_the_content_is_broken(place: int) -> None:
    altered = bytearray(CONTENT)
    altered[place // 8] ^= 1 << place % 8
    assert judged(DETACHED, bytes(altered)).signature is Signature.BROKEN


@given(place=st.integers(0, len(DETACHED) * 8 - 1))
def test_one_flipped_bit_of_the_signature_gives_a_verdict_and_a_sound_one_for_this_content_alone(
    place: int,
) -> None:
    altered = bytearray(DETACHED)
    altered[place // 8] ^= 1 << place % 8
    judged(bytes(altered))
    assert judged(bytes(altered), b"other").signature is not Signature.SOUND


@given(blob=st.binary(max_size=400))
def test_any_bytes_are_decoded_or_refused(blob: bytes) -> None:
    with pytest.raises(DecodeError):
        signed_data.decode(blob, what="signature")
    assert judged(blob).signature is Signature.BROKEN


def test_attack_by_a_signature_that_is_too_long_is_refused() -> None:
    with pytest.raises(DecodeError, match="at most"):
        signed_data.decode(bytes(signed_data.LIMIT + 1), what="signature")
