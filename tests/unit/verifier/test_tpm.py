# SPDX-License-Identifier: Apache-2.0
"""Decoding what a TPM signs. That a real TPM's structures decode is shown in tests/tpm."""

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from mantlet.verifier.tpm import Clock, Selection, decode_certify, decode_quote, decode_signature
from mantlet_measure.errors import DecodeError

HEAD = bytes.fromhex("ff544347")
SIGNER = bytes.fromhex("0002aabb")
EXTRA = bytes.fromhex("0003010203")
CLOCK = bytes.fromhex("0000000000000010 00000002 00000001 01")
FIRMWARE = bytes.fromhex("2024012500120000")
SELECTION = bytes.fromhex("00000002 000b03ffff00 000c03010080")
DIGEST = bytes.fromhex("0004deadbeef")
QUOTE = HEAD + bytes.fromhex("8018") + SIGNER + EXTRA + CLOCK + FIRMWARE + SELECTION + DIGEST
CERTIFY = (
    HEAD + bytes.fromhex("8017") + SIGNER + EXTRA + CLOCK + FIRMWARE + bytes.fromhex("0002 000b 0001 ff")
)
SIGNATURE = bytes.fromhex("0018 000b 0002 0102 0001 03")


def test_a_quote_decodes_field_by_field() -> None:
    quote = decode_quote(QUOTE)
    assert quote.extra_data == b"\x01\x02\x03"
    assert quote.clock == Clock(milliseconds=16, reset_count=2, restart_count=1, safe=True)
    assert quote.firmware_version == 0x2024012500120000
    assert quote.selections == (
        Selection(algorithm=0x000B, registers=tuple(range(16))),
        Selection(algorithm=0x000C, registers=(0, 23)),
    )
    assert quote.pcr_digest == b"\xde\xad\xbe\xef"


def test_a_certification_decodes_to_its_name() -> None:
    assert decode_certify(CERTIFY).name == b"\x00\x0b"


def test_a_signature_decodes_to_der() -> None:
    assert decode_dss_signature(decode_signature(SIGNATURE)) == (0x0102, 0x03)


def test_one_type_is_not_taken_for_the_other() -> None:
    with pytest.raises(DecodeError, match=r"type 0x8018 \(quote\), found 0x8017"):
        decode_quote(CERTIFY)
    with pytest.raises(DecodeError, match=r"type 0x8017 \(certify\), found 0x8018"):
        decode_certify(QUOTE)


@pytest.mark.parametrize(
    "data",
    [
        QUOTE[:-1],
        QUOTE + b"\0",
        b"\xff\x54\x43\x48" + QUOTE[4:],
        QUOTE.replace(CLOCK, CLOCK[:-1] + b"\x02"),
        QUOTE.replace(SELECTION, bytes.fromhex("00000011")),
    ],
)
def test_a_broken_quote_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError, match="quote"):
        decode_quote(data)


@pytest.mark.parametrize("data", [b"", SIGNATURE[:-1], SIGNATURE + b"\0", b"\0\x14" + SIGNATURE[2:]])
def test_a_broken_or_other_signature_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError, match="TPM signature"):
        decode_signature(data)


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_raise_decode_error(data: bytes) -> None:
    for decode in (decode_quote, decode_certify, decode_signature):
        for candidate in (data, QUOTE[: len(data) % 30] + data):
            try:
                decode(candidate)
            except DecodeError:
                continue
