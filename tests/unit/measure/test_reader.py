# SPDX-License-Identifier: Apache-2.0
"""Tests of the cursor over untrusted bytes."""

import pytest

from mantlet_measure.errors import DecodeError
from mantlet_measure.reader import Reader


def test_integers_are_read_in_both_orders() -> None:
    reader = Reader(bytes(range(1, 30)), "sample")
    assert (reader.u8(), reader.u16be(), reader.u32be()) == (0x01, 0x0203, 0x04050607)
    assert reader.u64be() == 0x08090A0B0C0D0E0F
    assert (reader.u16le(), reader.u32le(), reader.u64le()) == (0x1110, 0x15141312, 0x1D1C1B1A19181716)
    reader.end()


def test_read_past_the_end_is_refused_with_its_offset() -> None:
    reader = Reader(b"abc", "sample")
    reader.u16be()
    with pytest.raises(DecodeError) as refused:
        reader.u16be()
    assert (refused.value.offset, refused.value.what) == (2, "sample")


def test_negative_size_is_refused() -> None:
    with pytest.raises(DecodeError, match="-1 more bytes"):
        Reader(b"abc", "sample").take(-1)


def test_field_longer_than_its_limit_is_refused() -> None:
    with pytest.raises(DecodeError, match="at most 2 bytes, found 3"):
        Reader(b"\x00\x03abc", "sample").sized16be(2)


def test_bytes_behind_the_last_field_are_refused() -> None:
    reader = Reader(b"\x00\x01ab", "sample")
    assert reader.sized16be(2) == b"a"
    with pytest.raises(DecodeError, match="the end, found 1 more"):
        reader.end()
    assert reader.rest() == b"b"
