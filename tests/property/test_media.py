# SPDX-License-Identifier: Apache-2.0
"""Any bytes are a value or a DecodeError: disks and their parts, UefiData, firmware records, platforms."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mantlet.predict import disk, fat, gpt, platform, recorded, uefi_data
from mantlet.predict.uki import UnpredictableError
from mantlet_measure.errors import DecodeError
from tests.unit.predict import media
from tests.unit.predict.test_recorded import _source
from tests.unit.predict.test_uefi_data import DICTIONARY, _blob, _content, _stream, _variable

_REFUSALS = (DecodeError, UnpredictableError)


def _fat12() -> bytes:
    """A file system of one directory with one file, by hand: 64 sectors, FAT12."""
    boot = bytearray(512)
    boot[0:3] = b"\xeb\x3c\x90"
    for offset, value, size in (
        (11, 512, 2), (13, 1, 1), (14, 1, 2), (16, 1, 1), (17, 16, 2), (19, 64, 2), (22, 1, 2),
    ):  # fmt: skip
        boot[offset : offset + size] = media.number(value, size)
    boot[510:512] = b"\x55\xaa"
    table = b"\xf8\xff\xff\xff\xff\xff".ljust(512, b"\0")
    folder = b"EFI        " + b"\x10" + bytes(14) + media.number(2, 2) + media.number(0, 4)
    file = b"BOOT       " + b"\x20" + bytes(14) + media.number(3, 2) + media.number(5, 4)
    return (
        bytes(boot) + table + folder.ljust(512, b"\0") + file.ljust(512, b"\0") + b"hello" + bytes(512 * 60)
    )


def _walk(data: bytes) -> None:
    volume = fat.decode(memoryview(data))
    for path in ("", "EFI", "EFI/BOOT"):
        for entry in volume.entries(path):
            if not entry.is_directory:
                volume.read(entry, limit=1 << 20)


class Decoder(NamedTuple):
    """A decoder, and one document that it takes."""

    name: str
    decode: Callable[[bytes], object]
    good: bytes


DECODERS = (
    Decoder("partition table", lambda data: gpt.decode(memoryview(data)), media.with_esp(_fat12())),
    Decoder("file system", _walk, _fat12()),
    Decoder(
        "UefiData",
        lambda data: uefi_data.decode(data, dictionary=DICTIONARY),
        _blob(_stream(_content(_variable()))),
    ),
    Decoder(
        "firmware record",
        recorded.decode,
        recorded.encode(recorded.record(_source(), firmware_sha256=bytes(32))),
    ),
)


def _outcome(decoder: Decoder, data: bytes) -> str:
    """Return the hint of the refusal, which must not be empty, or that there was none."""
    try:
        decoder.decode(data)
    except DecodeError as refused:
        return refused.hint
    return "decoded"


_NAMES = [decoder.name for decoder in DECODERS]


@pytest.mark.parametrize("decoder", DECODERS, ids=_NAMES)
def test_the_document_that_is_altered_below_is_good(decoder: Decoder) -> None:
    decoder.decode(decoder.good)


@pytest.mark.parametrize("decoder", DECODERS, ids=_NAMES)
@settings(deadline=None)
@given(data=st.binary(max_size=4096))
def test_any_bytes_give_a_value_or_a_decode_error(decoder: Decoder, data: bytes) -> None:
    assert _outcome(decoder, data)


@pytest.mark.parametrize("decoder", DECODERS, ids=_NAMES)
@settings(deadline=None, suppress_health_check=[HealthCheck.large_base_example])
@given(place=st.integers(min_value=0, max_value=8191), value=st.integers(min_value=0, max_value=255))
def test_one_altered_byte_gives_a_value_or_a_decode_error(decoder: Decoder, place: int, value: int) -> None:
    altered = bytearray(decoder.good)
    altered[place % len(altered)] = value
    assert _outcome(decoder, bytes(altered))


@pytest.mark.parametrize("decoder", DECODERS, ids=_NAMES)
@settings(deadline=None)
@given(cut=st.integers(min_value=0, max_value=1 << 21))
def test_a_cut_document_gives_a_value_or_a_decode_error(decoder: Decoder, cut: int) -> None:
    assert _outcome(decoder, decoder.good[: cut % len(decoder.good)])


@settings(deadline=None)
@given(place=st.integers(min_value=0, max_value=2047), value=st.integers(min_value=0, max_value=255))
def test_an_altered_disk_gives_a_boot_or_a_refusal(place: int, value: int) -> None:
    whole = bytearray(media.with_esp(_fat12()))
    whole[(2 << 20) + place] = value
    with pytest.raises(_REFUSALS):
        disk.decode(memoryview(bytes(whole)))


@settings(deadline=None)
@given(
    st.recursive(st.none() | st.integers() | st.text(max_size=8), lambda inner: st.lists(inner, max_size=3))
)
def test_any_value_is_a_platform_or_a_decode_error(value: object) -> None:
    with pytest.raises(DecodeError):
        platform.decode({"format": platform.FORMAT, "name": "x", "banks": value, "enforced": value})
