# SPDX-License-Identifier: Apache-2.0
"""Tests of the partition table: what is read, what is measured, what is refused and where."""

import json
from typing import Any

import pytest

from mantlet.predict import gpt
from mantlet_measure.errors import DecodeError
from tests.unit.predict.media import DISK, ROOT, disk, header, number, sealed, table

BLOCKS = 8192
HEAD, ENTRIES = table([(ROOT, "root", 2048, 4095), (gpt.ESP, "esp", 4096, 6143)], blocks=BLOCKS)


def _disk(head: bytes = HEAD, entries: bytes = ENTRIES) -> memoryview:
    whole = bytearray(BLOCKS * 512)
    whole[512 : 512 + len(head)] = head
    whole[1024 : 1024 + len(entries)] = entries
    return memoryview(bytes(whole))


def test_partitions_are_those_that_sfdisk_writes(artefacts: Any) -> None:
    image = artefacts.folder / "sfdisk.img"
    image.write_bytes(bytes(16 << 20))
    script = artefacts.folder / "script"
    script.write_text('label: gpt\nsize=2MiB, name=first\nsize=4MiB, type=uefi, name="the esp"\n')
    artefacts.run("sh", "-c", f"sfdisk --quiet {image} < {script}")
    listed = json.loads(artefacts.run("sfdisk", "--json", str(image)))["partitiontable"]
    found = gpt.decode(memoryview(image.read_bytes()))
    assert str(found.disk).upper() == listed["id"]
    assert [
        (str(item.type).upper(), str(item.unique).upper(), item.name, item.offset // 512, item.size // 512)
        for item in found.partitions
    ] == [
        (item["type"], item["uuid"], item["name"], item["start"], item["size"])
        for item in listed["partitions"]
    ]


@pytest.mark.parametrize("sector", [512, 4096])
def test_table_is_found_in_both_sector_sizes(sector: int) -> None:
    data = memoryview(disk([(ROOT, b"root"), (gpt.ESP, b"esp" * 1000)], sector=sector))
    found = gpt.decode(data)
    assert (found.sector_size, found.disk) == (sector, DISK)
    esp = found.partitions[1]
    assert bytes(data[esp.offset : esp.offset + 6]) == b"espesp"


def test_event_is_header_count_and_used_entries_in_table_order() -> None:
    # TCG PFP 1.06, UEFI_GPT_DATA: 92 bytes ‖ u64 ‖ SizeOfPartitionEntry each.
    holed = ENTRIES[:128] + bytes(128) + ENTRIES[128:256] + bytes(128 * 125)
    head = header(holed, blocks=BLOCKS, first=34)
    assert gpt.decode(_disk(head, holed)).event == head + number(2, 8) + ENTRIES[:256]


def _patched(offset: int, value: int, size: int) -> bytes:
    """The header with one field changed, and a checksum that holds again."""
    return sealed(HEAD[:offset] + number(value, size) + HEAD[offset + size :])


@pytest.mark.parametrize(
    ("head", "expected", "offset"),
    [
        (b"EFI PARX" + HEAD[8:], "EFI PART", 512),
        (HEAD[:16] + b"\0\0\0\0" + HEAD[20:], "header CRC", 528),
        (HEAD[:60] + b"\xff" + HEAD[61:], "header CRC", 528),
        (_patched(8, 0x20000, 4), "revision 1.0", 520),
        (_patched(12, 91, 4), "a header of 92 to 512 bytes", 524),
        (_patched(12, 0xFFFFFFFF, 4), "a header of 92 to 512 bytes", 524),
        (_patched(24, BLOCKS - 1, 8), "the primary header", 536),
        (_patched(72, 1, 8), "entries behind the header", 584),
        (_patched(72, 2**63, 8), "entries behind the header", 584),
        (_patched(80, 0, 4), "1 to 1024 entries", 592),
        (_patched(80, 0xFFFFFFFF, 4), "1 to 1024 entries", 592),
        (_patched(84, 100, 4), "entries of 128", 596),
        (_patched(84, 0x80000000, 4), "entries of 128", 596),
        (_patched(88, 0, 4), "CRC of the entries", 600),
        (_patched(40, 3000, 8), "inside the usable blocks", 1024 + 32),
    ],
)
def test_damaged_header_is_refused_with_its_offset(head: bytes, expected: str, offset: int) -> None:
    with pytest.raises(DecodeError, match=expected) as refused:
        gpt.decode(_disk(head))
    assert refused.value.offset == offset


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (3000, 5000, "behind the one before it"),
        (5000, 4999, "inside the usable blocks"),
        (4096, 2**62, "inside the usable blocks"),
    ],
)
def test_partition_that_overlaps_or_leaves_the_disk_is_refused(first: int, last: int, expected: str) -> None:
    head, entries = table([(ROOT, "root", 2048, 4095), (gpt.ESP, "esp", first, last)], blocks=BLOCKS)
    with pytest.raises(DecodeError, match=expected):
        gpt.decode(_disk(head, entries))


def test_partition_beyond_the_end_of_the_image_is_refused() -> None:
    with pytest.raises(DecodeError, match="on the disk of"):
        gpt.decode(_disk()[: 5000 * 512])


@pytest.mark.parametrize("size", [0, 511, 520, 560, 1024, 2000])
def test_cut_disk_is_refused(size: int) -> None:
    with pytest.raises(DecodeError, match="partition table"):
        gpt.decode(_disk()[:size])


def test_header_that_claims_more_than_the_disk_has_is_refused() -> None:
    with pytest.raises(DecodeError, match="a header of 512 bytes, found the end"):
        gpt.decode(_disk(_patched(12, 512, 4))[:700])
