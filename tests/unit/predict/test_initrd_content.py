# SPDX-License-Identifier: Apache-2.0
"""Tests of what an initrd is said to contain: archives, compressions, units, NvPCRs; and of broken ones."""

import bz2
import contextlib
import gzip
import hashlib
import json
import lzma
from collections.abc import Callable, Mapping

import lz4.block
import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from mantlet.predict import compressed, cpio, initrd, user_space
from mantlet.predict import initrd_content as content
from mantlet.predict.archive import META, archive
from mantlet.predict.boot import Basis, NvPcr, RegisterPrediction, UserSpace
from mantlet_measure.errors import DecodeError
from mantlet_measure.pcr import BANKS, Register
from tests.unit.predict.boots import boot, described, image, sha256
from tests.unit.predict.initrds import PHASE, SEPARATOR, TRAILER, UNITS, WANTS, cpio_of, record


def _legacy_lz4(data: bytes) -> bytes:
    blocks = (data[start : start + (8 << 20)] for start in range(0, len(data), 8 << 20))
    packed = (lz4.block.compress(block, store_size=False) for block in blocks)
    return b"\x02\x21\x4c\x18" + b"".join(len(block).to_bytes(4, "little") + block for block in packed)


COMPRESSIONS: Mapping[str, Callable[[bytes], bytes]] = {
    "none": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lambda data: lzma.compress(data, lzma.FORMAT_XZ, lzma.CHECK_CRC32),
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "zstd": zstd.compress,
    "lz4": _legacy_lz4,
}


def _space(files: Mapping[str, bytes | str], root: tuple[str, ...] | None = ()) -> UserSpace:
    return content.user_space(content.decode(cpio_of(files)), root_units=root)


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_initrds_behind_each_other_are_read_in_every_compression(name: str) -> None:
    large = {"./usr/share/large": bytes(range(256)) * 12000}
    pack = COMPRESSIONS[name]
    whole = cpio_of(PHASE) + bytes(512) + pack(cpio_of(large) + bytes(508) + cpio_of(SEPARATOR)) + bytes(4)
    whole += b"".join(archive(META, [("os-release", b"ID=x")]))
    entries = list(cpio.entries(whole, keep=3))
    assert [entry.path for entry in entries] == [
        *PHASE,
        "usr/share/large",
        *SEPARATOR,
        ".extra",
        ".extra/os-release",
    ]
    assert entries[2].content == b"\0\1\2"
    space = content.user_space(content.decode(whole), root_units=())
    assert space == UserSpace(os_separator=True, phases=("enter-initrd", "leave-initrd"))


def test_initrd_of_a_uki_is_read_and_its_image_hashed_meanwhile() -> None:
    made = image(262, initrd=zstd.compress(cpio_of(SEPARATOR)))
    found = content.of_uki(made)
    assert content.user_space(found, root_units=()).os_separator
    assert set(made.image.hashes) == set(BANKS)
    assert content.of_uki(image(262, initrd=None)) == content.InitrdContent(files={}, links={})


def test_unit_that_is_there_but_not_wanted_does_not_run() -> None:
    assert not _space({f"{UNITS}/{content.PCROSSEPARATOR}": b"[Unit]"}).os_separator
    assert not _space({f"{WANTS}/{content.PCROSSEPARATOR}": "../x"}).os_separator


@pytest.mark.parametrize("mask", ["/dev/null", b""])
def test_masked_unit_does_not_run(mask: bytes | str) -> None:
    assert not _space({**SEPARATOR, f"etc/systemd/system/{content.PCROSSEPARATOR}": mask}).os_separator


def test_later_archive_replaces_what_an_earlier_one_brought() -> None:
    mask = cpio_of({f"{UNITS}/{content.PCROSSEPARATOR}": "/dev/null"})
    found = content.decode(cpio_of(SEPARATOR) + mask)
    assert not content.user_space(found, root_units=()).os_separator


def _nvpcr(name: str, index: int) -> bytes:
    return json.dumps({"name": name, "algorithm": "sha256", "nvIndex": index}).encode()


EARLY = {
    f"{UNITS}/{content.TPM2_SETUP_EARLY}": b"[Unit]",
    f"{WANTS}/{content.TPM2_SETUP_EARLY}": "../x",
    f"{UNITS}/{content.PCRNVDONE}": b"[Unit]",
    f"{WANTS}/{content.PCRNVDONE}": "../x",
    "usr/lib/nvpcr/hardware.nvpcr": _nvpcr("hardware", 0x1D10200),
    "usr/lib/nvpcr/login.nvpcr": _nvpcr("login", 0x1D10203),
    "usr/lib/nvpcr/README": b"not one",
    "etc/nvpcr/login.nvpcr": "/dev/null",
}


def test_nvpcrs_of_the_initrd_leave_register_9_open_and_are_named() -> None:
    space = _space(EARLY)
    assert space.nvpcrs == (NvPcr(name="hardware", index=0x1D10200, algorithm="sha256"),)
    started = boot(user_space=space)
    prediction = user_space.completed(9, initrd.events(started), started)
    assert prediction.basis is Basis.UNPREDICTABLE
    assert "NvPCRs (hardware)" in prediction.reason
    assert described(prediction)[-1] == "nvpcr-separator"


def test_nvpcrs_that_nothing_sets_up_change_nothing() -> None:
    files = {path: data for path, data in EARLY.items() if content.TPM2_SETUP_EARLY not in path}
    assert _space(files).nvpcrs == ()


@pytest.mark.parametrize(
    "data",
    [
        *(b"{", b"[]", b'{"name": "x"}', b'{"name":1,"nvIndex":"x","algorithm":1}'),
        b'{"name":"x","nvIndex":30e74752,"algorithm":"sha256"}',
    ],
)
def test_nvpcr_file_that_says_nothing_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError, match=r"usr/lib/nvpcr/x\.nvpcr"):
        _space({**EARLY, "usr/lib/nvpcr/x.nvpcr": data})


@pytest.mark.parametrize(
    ("files", "root", "register", "reason"),
    [
        ({}, None, Register.SYSTEM_IDENTITY, "root file system"),
        ({}, ("systemd-pcrmachine.service",), Register.SYSTEM_IDENTITY, "the machine id"),
        ({"etc/crypttab": b"x - - tpm2-measure-pcr=yes"}, (), Register.SYSTEM_IDENTITY, "crypttab"),
        ({"etc/ima/ima-policy": b"measure"}, (), Register.IMA, "IMA policy"),
        (
            {f"{UNITS}/{content.IMDS_IMPORT}": b"x", f"{WANTS}/{content.IMDS_IMPORT}": "../x"},
            (),
            Register.KERNEL_CONFIG,
            "IMDS",
        ),
    ],
)
def test_what_the_image_does_not_settle_is_said_in_words(
    files: dict[str, bytes | str], root: tuple[str, ...] | None, register: int, reason: str
) -> None:
    space = _space(files, root)
    assert list(space.unpredictable) == [register]
    assert reason in space.unpredictable[register]
    added = user_space.completed(register, RegisterPrediction(events=()), boot(user_space=space))
    assert added.basis is Basis.UNPREDICTABLE
    assert added.reason == space.unpredictable[register]


def test_units_of_a_known_root_that_measure_nothing_leave_register_15_alone() -> None:
    assert _space({}, ("sshd.service",)).unpredictable == {}


@pytest.mark.parametrize("register", range(16))
def test_separator_closes_its_registers_and_no_others(register: int) -> None:
    started = boot(user_space=UserSpace(os_separator=True, phases=("enter-initrd",)))
    empty = RegisterPrediction(events=())
    added = user_space.completed(register, empty, started)
    # units/systemd-pcrosseparator.service.in
    closed = register in (0, 1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 14)
    assert sha256(added) == ([hashlib.sha256(b"os-separator").digest()] if closed else [])
    assert user_space.completed(register, empty, boot()) == empty


BROKEN = {
    "not cpio": b"MZ not an initrd",
    "header": b"070701" + b"x" * 104,
    "negative mode": record("a", b"b").replace(b"000081A4", b"-00081A4", 1) + cpio_of({}),
    "short": cpio_of(PHASE)[:200],
    "no trailer": record("a", b"b"),
    "long path": record("a" * 5000, b""),
    "no path": record("", b"").replace(b"00000001" + b"00000000" + b"\0", b"0" * 16 + b"\0"),
    "garbage inside": gzip.compress(b"no archive at all, whatever its size " * 9),
    **{
        f"cut {name}": pack(cpio_of(SEPARATOR) * 50)[:-9]
        for name, pack in COMPRESSIONS.items()
        if name != "none"
    },
    "damaged zstd": b"\x28\xb5\x2f\xfd" + b"\xff" * 40,
    "damaged lz4": b"\x02\x21\x4c\x18" + (40).to_bytes(4, "little") + b"\xff" * 40,
}


@pytest.mark.parametrize("name", BROKEN)
def test_initrd_that_linux_would_not_unpack_is_refused_with_its_offset(name: str) -> None:
    with pytest.raises(DecodeError, match="initrd") as refused:
        content.decode(BROKEN[name])
    assert refused.value.offset is not None


def test_bomb_is_refused_before_it_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpio, "_EXPANDED", 4 << 20)
    bomb = zstd.compress(record("zeros", bytes(64 << 20)) + TRAILER)
    assert len(bomb) < 1 << 16
    with pytest.raises(DecodeError, match="at most 4194304"):
        content.decode(bomb)


def test_archives_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpio, "_ENTRIES", 10)
    with pytest.raises(DecodeError, match="at most 10 entries"):
        content.decode(record("a", b"") * 20 + TRAILER)
    monkeypatch.setattr(cpio, "_EXPANDED", 1000)
    with pytest.raises(DecodeError, match="at most"):
        content.decode(gzip.compress(cpio_of({"a": bytes(400)})) * 4)


def test_padding_behind_the_last_archive_may_be_long() -> None:
    whole = cpio_of(SEPARATOR) + bytes(10000)
    assert content.user_space(content.decode(whole), root_units=()).os_separator
    assert content.decode(bytes(10000)) == content.InitrdContent(files={}, links={})


def test_folder_in_the_place_of_a_file_hides_it() -> None:
    unit = f"{UNITS}/{content.PCROSSEPARATOR}"
    hidden = cpio_of(SEPARATOR) + record(unit, b"", 0o040755) + TRAILER
    assert not content.user_space(content.decode(hidden), root_units=()).os_separator


def test_stream_of_nothing_is_refused() -> None:
    with pytest.raises(DecodeError, match="nothing"):
        compressed.Stream(memoryview(b""), 0, "initrd")


SAMPLES = tuple(pack(cpio_of({**SEPARATOR, **EARLY})) for pack in COMPRESSIONS.values())


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_bytes_are_an_initrd_or_a_decode_error(data: st.DataObject) -> None:
    sample = bytearray(data.draw(st.sampled_from(SAMPLES) | st.binary(max_size=300)))
    for position in data.draw(st.lists(st.integers(0, max(len(sample) - 1, 0)), max_size=3)):
        if sample:
            sample[position] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(DecodeError):
        content.user_space(content.decode(bytes(sample)), root_units=None)
