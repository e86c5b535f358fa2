# SPDX-License-Identifier: Apache-2.0
"""Tests of the FAT reader on file systems that mkfs and mtools made, and on damaged ones."""

from typing import Any

import pytest

from mantlet.predict import fat
from mantlet.predict.fat_directory import records
from mantlet_measure.errors import DecodeError
from tests.unit.predict import media
from tests.unit.predict.media import number

LARGE = bytes(range(256)) * 5000
FILES = {
    "EFI/Linux/A rather long name of a kernel+3-0.efi": b"kernel",
    "EFI/Linux/übung.efi": b"umlaut",
    "EFI/BOOT/BOOTX64.EFI": LARGE,
    "loader/loader.conf": b"timeout 3\n",
    "empty": b"",
}


@pytest.fixture(scope="module", params=[12, 16, 32])
def volume(artefacts: Any, request: pytest.FixtureRequest) -> fat.Volume:
    made = media.fat(artefacts, FILES, bits=request.param, name=f"fat{request.param}")
    decoded = fat.decode(memoryview(made))
    assert decoded.bits == request.param
    return decoded


def test_files_have_their_contents(volume: fat.Volume) -> None:
    for path, content in FILES.items():
        entry = volume.find(path)
        assert entry is not None
        assert volume.read(entry, limit=1 << 24) == content


def test_names_are_found_in_any_case_and_with_either_separator(volume: fat.Volume) -> None:
    assert volume.find("\\efi\\boot\\bootx64.efi") == volume.find("EFI/BOOT/BOOTX64.EFI") is not None
    assert volume.find("EFI/BOOT/absent") is None
    assert volume.find("EFI/BOOT/BOOTX64.EFI/below") is None


def test_directories_list_long_and_short_names(volume: fat.Volume) -> None:
    assert {entry.name for entry in volume.entries("")} == {"EFI", "loader", "empty"}
    assert {entry.name for entry in volume.entries("EFI/Linux")} == {
        "A rather long name of a kernel+3-0.efi",
        "übung.efi",
    }
    assert volume.entries("absent") == volume.entries("empty") == ()


def test_contiguous_file_is_a_slice_and_not_a_copy(volume: fat.Volume) -> None:
    entry = volume.find("EFI/BOOT/BOOTX64.EFI")
    assert entry is not None
    assert volume.read(entry, limit=1 << 24).obj is volume.data.obj


def test_file_over_its_limit_and_directory_are_not_read(volume: fat.Volume) -> None:
    file, folder = volume.find("EFI/BOOT/BOOTX64.EFI"), volume.find("EFI")
    assert file is not None
    assert folder is not None
    with pytest.raises(DecodeError, match="at most 10 bytes"):
        volume.read(file, limit=10)
    with pytest.raises(DecodeError, match="a directory"):
        volume.read(folder, limit=10)


def test_fragmented_file_is_put_together(artefacts: Any) -> None:
    # A file deleted between two leaves a hole of two clusters, which the next one fills first.
    files = {"a": b"a" * 1024, "b": b"b" * 1024, "c": b"c" * 512}
    media.fat(artefacts, files, bits=16, name="holes")
    image = str(artefacts.folder / "holes.img")
    artefacts.run("env", "MTOOLS_SKIP_CHECK=1", "mdel", "-i", image, "::a")
    source = artefacts.folder / "content"
    source.write_bytes(LARGE[:4000])
    artefacts.run("env", "MTOOLS_SKIP_CHECK=1", "mcopy", "-i", image, str(source), "::d")
    volume = fat.decode(memoryview((artefacts.folder / "holes.img").read_bytes()))
    entry = volume.find("d")
    assert entry is not None
    found = volume.read(entry, limit=1 << 20)
    assert found == LARGE[:4000]
    assert volume.find("a") is None


@pytest.fixture(scope="module")
def small(artefacts: Any) -> bytes:
    return media.fat(artefacts, {"file": LARGE[:3000]}, bits=12, name="small")


def _patched(data: bytes, offset: int, value: bytes) -> memoryview:
    return memoryview(data[:offset] + value + data[offset + len(value) :])


@pytest.mark.parametrize(
    ("offset", "value", "expected"),
    [
        (510, b"\0\0", "a boot sector"),
        (11, number(500, 2), "sectors of 512"),
        (13, b"\0", "a power of two"),
        (13, b"\3", "a power of two"),
        (14, number(0, 2), "a reserved area"),
        (16, b"\0", "1 to 4 allocation tables"),
        (19, number(0xFFFF, 2), "a file system inside"),
        (19, number(3, 2), "clusters behind sector"),
        (17, number(0, 2), "the root directory of FAT12"),
        (22, number(1, 2), "an allocation table for"),
    ],
)
def test_boot_sector_that_lies_is_refused_with_its_offset(
    small: bytes, offset: int, value: bytes, expected: str
) -> None:
    with pytest.raises(DecodeError, match=expected) as refused:
        fat.decode(_patched(small, offset, value))
    assert refused.value.offset is not None


@pytest.mark.parametrize("size", [0, 100, 511])
def test_cut_boot_sector_is_refused(small: bytes, size: int) -> None:
    with pytest.raises(DecodeError, match="a boot sector"):
        fat.decode(memoryview(small[:size]))


def _chained(small: bytes, entries: dict[int, int]) -> fat.Volume:
    """The volume with some entries of its first FAT12 table changed."""
    table = bytearray(small[512 : 512 + 32])
    for cluster, value in entries.items():
        at = cluster + cluster // 2
        pair = int.from_bytes(table[at : at + 2], "little")
        pair = pair & 0xF | value << 4 if cluster & 1 else pair & 0xF000 | value
        table[at : at + 2] = number(pair, 2)
    return fat.decode(_patched(small, 512, bytes(table)))


@pytest.mark.parametrize(
    ("chain", "expected"),
    [
        ({2: 0xFFF}, "the end of its chain before"),
        ({2: 1}, "a cluster from 2"),
        ({2: 0xFF0}, "a cluster from"),
    ],
)
def test_chain_that_ends_early_or_leaves_the_volume_is_refused(
    small: bytes, chain: dict[int, int], expected: str
) -> None:
    volume = _chained(small, chain)
    entry = volume.find("file")
    assert entry is not None
    with pytest.raises(DecodeError, match=expected):
        volume.read(entry, limit=1 << 20)


def test_directory_that_circles_is_refused_and_not_followed_for_ever(artefacts: Any) -> None:
    data = media.fat(artefacts, {"folder/file": b"x"}, bits=12, name="circle")
    volume = fat.decode(memoryview(data))
    folder = volume.find("folder")
    assert folder is not None
    circling = _chained(data, {folder.cluster: folder.cluster})
    with pytest.raises(DecodeError, match=r"with an end|a directory of at most"):
        circling.entries("folder")


def test_directory_over_its_limit_is_refused(artefacts: Any) -> None:
    data = media.fat(artefacts, {"folder/file": b"x"}, bits=16, name="endless")
    folder = fat.decode(memoryview(data)).find("folder")
    assert folder is not None
    start = 512 * int.from_bytes(data[14:16], "little") + 2 * folder.cluster
    with pytest.raises(DecodeError, match="a directory of at most"):
        fat.decode(_patched(data, start, number(folder.cluster, 2))).entries("folder")


def test_directory_that_names_cluster_0_is_the_root_on_fat32_too(artefacts: Any) -> None:
    data = media.fat(artefacts, {"folder/file": b"x"}, name="zero")
    at = data.index(b"FOLDER     ")
    zeroed = _patched(bytes(_patched(data, at + 26, b"\0\0")), at + 20, b"\0\0")
    volume = fat.decode(zeroed)
    assert volume.entries("folder") == volume.entries("")


def test_directory_of_torn_records_is_refused() -> None:
    with pytest.raises(DecodeError, match="records of 32 bytes"):
        list(records(memoryview(bytes(33)), what="x"))


def test_long_name_that_belongs_to_another_entry_is_not_used() -> None:
    long = b"\x41" + "x".encode("utf-16-le") + bytes(8) + b"\x0f\0" + b"\x00" + bytes(18)
    short = b"NAME    TXT" + b"\x20" + b"\x18" + bytes(19)
    stray = b"\x01" + long[1:13] + b"\x07" + long[14:32]
    for before in (long[:32], stray, long[:32] + stray):
        assert [entry.name for entry in records(memoryview(before + short), what="x")] == ["name.txt"]
