# SPDX-License-Identifier: Apache-2.0
"""Tests of the PE reader and the Authenticode hash."""

import dataclasses
from typing import Any

import lief
import pytest

from mantlet.predict import pe
from mantlet.predict.authenticode import authenticode
from mantlet_measure.errors import DecodeError
from mantlet_measure.pcr import BANKS, Bank
from tests.unit.predict import synthetic
from tests.unit.predict.synthetic import HEADERS, OPTIONAL, TABLE, patched, uki

_LIEF = {Bank.SHA256: lief.PE.ALGORITHMS.SHA_256, Bank.SHA384: lief.PE.ALGORITHMS.SHA_384}


def test_sections_have_their_names_and_contents() -> None:
    image = pe.decode(uki())
    section = image.section(".initrd")
    assert section is not None
    assert image.content(section) == b"an initrd of nineteen"
    assert image.section(".absent") is None


def test_memory_beyond_the_file_content_is_zero() -> None:
    grown = patched(uki(synthetic.sections()), TABLE + 8, 600, 4)
    section = pe.decode(grown).sections[0]
    assert pe.decode(grown).content(section) == b"sbat,1,SBAT Version\n" + bytes(580)


@pytest.mark.parametrize("bank", BANKS)
@pytest.mark.parametrize("name", ["uki.efi", "unsigned.efi"])
def test_authenticode_hash_is_the_one_that_lief_computes(artefacts: Any, name: str, bank: Bank) -> None:
    data = artefacts.read(name)
    parsed = lief.PE.parse(list(data))
    assert isinstance(parsed, lief.PE.Binary)
    assert authenticode(pe.decode(data), bank) == bytes(parsed.authentihash(_LIEF[bank]))


@pytest.mark.parametrize("bank", BANKS)
def test_signing_does_not_change_the_authenticode_hash(artefacts: Any, bank: Bank) -> None:
    signed, unsigned = (pe.decode(artefacts.read(name)) for name in ("uki.efi", "unsigned.efi"))
    assert len(signed.certificates) > 0 == len(unsigned.certificates)
    assert authenticode(signed, bank) == authenticode(unsigned, bank)


def test_checksum_does_not_enter_the_hash() -> None:
    changed = patched(uki(), OPTIONAL + 64, 0xDEADBEEF, 4)
    assert authenticode(pe.decode(changed), Bank.SHA256) == authenticode(pe.decode(uki()), Bank.SHA256)


def test_directory_of_certificates_that_an_image_lacks_is_not_skipped() -> None:
    few = patched(uki(), OPTIONAL + 108, 4, 4)
    assert pe.decode(few).directory is None
    assert authenticode(pe.decode(few), Bank.SHA256) != authenticode(pe.decode(uki()), Bank.SHA256)


# Headers of section 1 lie at TABLE + 40: virtual size +8, address +12, raw size +16, raw offset +20.
_SECOND = TABLE + 40


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "2 bytes at 0"),
        (uki()[:-1], "a multiple of 8"),
        (uki()[:-8], "sections until"),
        (uki() + bytes(8), "the end"),
        (uki()[:64], "4 bytes at 64"),
        (uki()[:512], "headers that hold"),
        (b"ZM" + uki()[2:], "DOS magic"),
        (patched(uki(), 0x3C, 0xFFFFFFF0, 4), "4 bytes at"),
        (patched(uki(), 64, 0, 4), "PE signature"),
        (patched(uki(), 68, 0xAA64, 2), "machine x86-64"),
        (patched(uki(), 70, 0, 2), "headers that hold"),
        (patched(uki(), 70, 97, 2), "headers that hold"),
        (patched(uki(), OPTIONAL, 0x10B, 2), "optional header magic"),
        (patched(uki(), OPTIONAL + 68, 11, 2), "subsystem EFI application"),
        (patched(uki(), OPTIONAL + 108, 17, 4), "at most 16 directories"),
        (patched(uki(), OPTIONAL + 60, 64, 4), "headers that hold"),
        (patched(uki(), OPTIONAL + 56, 0xFFFFFFFF, 4), "an image of at most"),
        (patched(uki(), OPTIONAL + 148, 8, 4), "certificates from"),
        (patched(uki(), TABLE + 8, 0xFFFFFFFF, 4), "inside the image"),
        (patched(uki(), TABLE, 0x80, 1), "an ASCII section name"),
        (patched(uki(), TABLE + 2, 0, 1), "an ASCII section name"),
        (patched(uki(), _SECOND + 12, 4096, 4), "above 0x"),
        (patched(uki(), _SECOND + 20, HEADERS + 1024, 4), "right behind"),
        (patched(uki(), _SECOND + 20, HEADERS, 4), "right behind"),
        (patched(uki(), TABLE + 16, 1024, 4), "right behind"),
    ],
)
def test_image_with_a_layout_that_is_read_in_two_ways_is_refused(data: bytes, expected: str) -> None:
    with pytest.raises(DecodeError) as refused:
        pe.decode(data)
    assert expected in refused.value.expected
    assert refused.value.offset is not None


def test_image_over_its_limit_is_refused_unread() -> None:
    with pytest.raises(DecodeError, match="at most"):
        pe.decode(bytes(pe.LIMIT + 8))


def test_section_without_file_content_does_not_enter_the_hash() -> None:
    contents = synthetic.sections()
    empty = pe.decode(uki({**contents, ".bss": b""}))
    assert len(empty.sections) == len(contents) + 1
    sections = tuple(section for section in empty.sections if section.raw_size)
    without = dataclasses.replace(empty, sections=sections)
    assert authenticode(empty, Bank.SHA256) == authenticode(without, Bank.SHA256)


def test_section_that_is_there_twice_is_refused() -> None:
    twice = uki().replace(b".uname\0\0", b".initrd\0", 1)
    with pytest.raises(DecodeError, match=r"one section \.initrd, found 2"):
        pe.decode(twice).section(".initrd")
