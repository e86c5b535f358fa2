# SPDX-License-Identifier: Apache-2.0
"""Tests of what event data says in words, and of device paths as text."""

import pytest

from mantlet_measure import event_data
from mantlet_measure.device_path import device_path_text
from mantlet_measure.event_text import claimed_text
from mantlet_measure.event_types import EventType as Type
from mantlet_measure.logged import LoggedEvent
from mantlet_measure.pcr import Bank

OWNER = bytes(range(16))
OWNER_TEXT = "03020100-0504-0706-0809-0a0b0c0d0e0f"
END = b"\x7f\xff\x04\0"


def le(value: int, size: int) -> bytes:
    return value.to_bytes(size, "little")


def wide(text: str) -> bytes:
    return text.encode("utf-16-le")


def variable(name: str, data: bytes) -> bytes:
    return OWNER + le(len(name), 8) + le(len(data), 8) + wide(name) + data


def node(kind: int, subtype: int, body: bytes) -> bytes:
    return bytes([kind, subtype]) + le(4 + len(body), 2) + body


def gpt(*names: str, entry_size: int = 128) -> bytes:
    header = bytearray(92)
    header[56:72] = OWNER
    header[84:88] = le(entry_size, 4)
    entries = b"".join(
        (OWNER + OWNER[::-1] + le(64, 8) + le(127, 8) + bytes(8) + wide(name).ljust(72, b"\0")).ljust(
            entry_size, b"\0"
        )
        for name in names
    )
    return bytes(header) + le(len(names), 8) + entries


@pytest.mark.parametrize(
    ("kind", "data", "text"),
    [
        (Type.EV_SEPARATOR, bytes(4), "00000000"),
        (Type.EV_SEPARATOR, bytes(9), "9 bytes"),
        (Type.EV_ACTION, b"Calling INT 19h\0junk", "Calling INT 19h"),
        (Type.EV_IPL, wide("a command line\0"), "a command line"),
        (Type.EV_IPL, b"grub_cmd: boot", "grub_cmd: boot"),
        (Type.EV_S_CRTM_VERSION, b"\0\0", ""),
        (Type.EV_S_CRTM_VERSION, b"\xff" * 16, "ffffffff-ffff-ffff-ffff-ffffffffffff"),
        (Type.EV_EFI_VARIABLE_DRIVER_CONFIG, variable("SecureBoot", b"\1"), "SecureBoot = 01"),
        (Type.EV_EFI_VARIABLE_DRIVER_CONFIG, variable("db", b""), "db, which is not set"),
        (Type.EV_EFI_VARIABLE_DRIVER_CONFIG, variable("dbx", bytes(76)), "dbx = 76 bytes"),
        (Type.EV_EFI_VARIABLE_DRIVER_CONFIG, variable("db", b"x") + b"y", ""),
        (
            Type.EV_EFI_VARIABLE_AUTHORITY,
            variable("db", OWNER + bytes(9)),
            f"db: an entry of 9 bytes, owner {OWNER_TEXT}",
        ),
        (Type.EV_EFI_VARIABLE_AUTHORITY, variable("MokListTrusted", b"\1"), "MokListTrusted = 01"),
        (Type.EV_EFI_VARIABLE_AUTHORITY, b"short", ""),
        (Type.EV_EFI_VARIABLE_BOOT, variable("BootOrder", b"\2\0\x0a\0"), "BootOrder = 0002 000A"),
        (
            Type.EV_EFI_VARIABLE_BOOT2,
            variable(
                "Boot0001", le(1, 4) + le(10, 2) + wide("Linux\0") + node(1, 1, b"\0\x1f") + END + b"opt"
            ),
            "Boot0001 = Linux: Pci(0x1F,0x0)",
        ),
        (Type.EV_EFI_VARIABLE_BOOT, variable("Boot0001", b"\1"), "Boot0001 = 01"),
        (Type.EV_EFI_VARIABLE_BOOT, b"", ""),
        (
            Type.EV_EVENT_TAG,
            le(0xF5BC582A, 4) + le(12, 4) + wide("loader") + b"more",
            "tag 0xf5bc582a loader",
        ),
        (Type.EV_EVENT_TAG, le(1, 4) + le(2, 4) + b"\1\2", "tag 0x00000001"),
        (Type.EV_EVENT_TAG, le(1, 4) + le(3, 4) + b"ab", ""),
        (Type.EV_EFI_GPT_EVENT, gpt("esp", "root"), f"disk {OWNER_TEXT}: esp, root"),
        (Type.EV_EFI_GPT_EVENT2, gpt(""), f"disk {OWNER_TEXT}: 0c0d0e0f-0a0b-0809-0706-050403020100"),
        (Type.EV_EFI_GPT_EVENT, gpt("wide", entry_size=256), f"disk {OWNER_TEXT}: wide"),
        (Type.EV_EFI_GPT_EVENT, gpt(), f"disk {OWNER_TEXT}: no partitions"),
        (
            Type.EV_EFI_GPT_EVENT,
            gpt(*"abcdefghijklmnopqr"),
            f"disk {OWNER_TEXT}: {', '.join('abcdefghijklmnop')}, 2 more",
        ),
        (Type.EV_EFI_GPT_EVENT, gpt("esp")[:-1], ""),
        (Type.EV_EFI_GPT_EVENT, gpt("esp", entry_size=64), ""),
        (
            Type.EV_EFI_BOOT_SERVICES_DRIVER,
            bytes(24) + le(8, 8) + node(2, 1, b"") + END,
            "Path(2,1,)",
        ),
        (Type.EV_EFI_BOOT_SERVICES_APPLICATION, le(0, 8) + le(77, 8) + bytes(16), "77 bytes in memory"),
        (Type.EV_EFI_RUNTIME_SERVICES_DRIVER, bytes(24) + le(9, 8) + END, ""),
        (Type.EV_EFI_PLATFORM_FIRMWARE_BLOB, le(0x1000, 8) + le(512, 8), "512 bytes at 0x1000"),
        (Type.EV_POST_CODE, b"ACPI DATA", "ACPI DATA"),
        (
            Type.EV_EFI_PLATFORM_FIRMWARE_BLOB2,
            b"\3DXE" + le(0x1000, 8) + le(512, 8),
            "DXE: 512 bytes at 0x1000",
        ),
        (Type.EV_POST_CODE2, b"\x80text", ""),
        (Type.EV_EFI_HANDOFF_TABLES, le(1, 8) + OWNER + bytes(8), f"tables {OWNER_TEXT}"),
        (Type.EV_EFI_HANDOFF_TABLES, le(1 << 60, 8), ""),
        (
            Type.EV_EFI_HANDOFF_TABLES2,
            b"\6SMBIOS" + le(1, 8) + OWNER + bytes(8),
            f"SMBIOS: tables {OWNER_TEXT}",
        ),
        (Type.EV_NONHOST_INFO, b"GCE NonHostInfo\0\1\2", "GCE NonHostInfo"),
        (Type.EV_CPU_MICROCODE, b"\1\2\3", ""),
        (0x42, b"anything", "anything"),
        (Type.EV_EFI_ACTION, b"a\x1b[2J", "a\N{REPLACEMENT CHARACTER}[2J"),
        (Type.EV_EFI_ACTION, b"x" * 1000, "x" * 160),
    ],
)
def test_event_data_says_in_words_what_it_is(kind: int, data: bytes, text: str) -> None:
    assert claimed_text(kind, data) == text


@pytest.mark.parametrize("kind", Type)
@pytest.mark.parametrize("data", [b"", b"\0", b"\xff" * 7, b"\xff" * 200, bytes(200)])
def test_event_data_of_any_shape_has_words(kind: Type, data: bytes) -> None:
    assert claimed_text(kind, data).isprintable()


# The forms are those of UEFI 2.10, table 10.60.
@pytest.mark.parametrize(
    ("nodes", "text"),
    [
        (node(1, 1, b"\2\x1f"), "Pci(0x1F,0x2)"),
        (node(1, 3, le(11, 4) + le(0x1000, 8) + le(0x1FFF, 8)), "MemoryMapped(0xB,0x1000,0x1FFF)"),
        (node(1, 4, OWNER), f"VenHw({OWNER_TEXT.upper()})"),
        (node(2, 1, bytes.fromhex("d041030a01000000")), "PciRoot(0x1)"),
        (node(2, 1, bytes.fromhex("d041010502000000")), "Acpi(PNP0501,0x2)"),
        (node(2, 1, bytes.fromhex("0102030402000000")), "Acpi(0x04030201,0x2)"),
        (node(3, 2, b"\1\0\2\0"), "Scsi(0x1,0x2)"),
        (node(3, 5, b"\1\2"), "USB(0x1,0x2)"),
        (node(3, 10, OWNER), f"VenMsg({OWNER_TEXT.upper()})"),
        (node(3, 11, bytes.fromhex("525400123456") + bytes(26) + b"\1"), "MAC(525400123456,0x1)"),
        (node(3, 12, bytes(23)) + node(3, 24, b"http://boot/uki\0"), "IPv4()/Uri(http://boot/uki)"),
        (node(3, 13, bytes(56)), "IPv6()"),
        (node(3, 18, b"\1\0\xff\xff\0\0"), "Sata(0x1,0xFFFF,0x0)"),
        (node(3, 23, le(1, 4) + bytes.fromhex("0102030405060708")), "NVMe(0x1,08-07-06-05-04-03-02-01)"),
        (
            node(4, 1, le(1, 4) + le(0x800, 8) + le(0x1000, 8) + OWNER + b"\2\2"),
            f"HD(1,GPT,{OWNER_TEXT.upper()},0x800,0x1000)",
        ),
        (
            node(4, 1, le(2, 4) + le(1, 8) + le(2, 8) + le(0xCAFE, 16) + b"\1\1"),
            "HD(2,MBR,0x0000CAFE,0x1,0x2)",
        ),
        (node(4, 1, le(2, 4) + le(1, 8) + le(2, 8) + bytes(16) + b"\1\0"), "HD(2,0,0,0x1,0x2)"),
        (node(4, 2, le(0, 4) + le(1, 8) + le(2, 8)), "CDROM(0x0,0x1,0x2)"),
        (node(4, 3, OWNER), f"VenMedia({OWNER_TEXT.upper()})"),
        (node(4, 7, OWNER) + node(4, 6, OWNER), f"Fv({OWNER_TEXT.upper()})/FvFile({OWNER_TEXT.upper()})"),
        (node(4, 8, bytes(4) + le(16, 8) + le(32, 8)), "Offset(0x10,0x20)"),
        (node(4, 4, wide("\\EFI\\BOOT\0")) + node(4, 4, wide("x.efi\0")), "\\EFI\\BOOT/x.efi"),
        (node(9, 9, b"\xab"), "Path(9,9,ab)"),
        (node(1, 4, b"short"), "Path(1,4,73686f7274)"),
        (node(2, 1, bytes(8)) + b"\x7f\1\4\0" + node(1, 1, b"\0\1"), "Acpi(0x00000000,0x0),Pci(0x1,0x0)"),
    ],
)
def test_device_path_is_written_as_uefi_writes_it(nodes: bytes, text: str) -> None:
    assert device_path_text(nodes + END) == text


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (b"", "…"),
        (node(1, 1, b"\0\1"), "Pci(0x1,0x0)…"),
        (node(1, 1, b"\0\1") + b"\1\1\xff\0", "Pci(0x1,0x0)…"),
        (b"\1\1\3\0", "…"),
        (node(3, 12, b"") * 80 + END, "/".join(["IPv4()"] * 64) + "…"),
    ],
)
def test_device_path_that_is_cut_or_endless_says_so(path: bytes, text: str) -> None:
    assert device_path_text(path) == text


def event(kind: str, data: bytes, measured: bytes, text: str = "") -> LoggedEvent:
    return LoggedEvent(
        number=0,
        register=0,
        digests={Bank.SHA256: Bank.SHA256.digest(measured)},
        claimed_type=kind,
        claimed_text=text,
        claimed_data=data,
    )


@pytest.mark.parametrize(
    ("kind", "data", "measured"),
    [
        ("EV_SEPARATOR", bytes(4), bytes(4)),
        ("EV_EFI_VARIABLE_DRIVER_CONFIG", variable("db", b"x"), variable("db", b"x")),
        ("EV_EFI_VARIABLE_BOOT", variable("BootOrder", b"\1\0"), b"\1\0"),
        ("EV_EVENT_TAG", le(7, 4) + le(3, 4) + b"abc", b"abc"),
        ("phase", b"sysinit", b"sysinit"),
    ],
)
def test_data_that_was_measured_is_proven(kind: str, data: bytes, measured: bytes) -> None:
    assert event(kind, data, measured).proven_data(Bank.SHA256) == measured


@pytest.mark.parametrize(
    ("kind", "data", "measured"),
    [
        ("EV_SEPARATOR", bytes(4), bytes(5)),
        ("EV_EFI_ACTION", variable("BootOrder", b"\1\0"), b"\1\0"),
        ("EV_EFI_VARIABLE_BOOT", b"no variable", b""),
        ("EV_EVENT_TAG", b"no tag", b""),
        ("EV_IPL", wide(".linux\0"), b"the kernel"),
    ],
)
def test_data_that_only_describes_what_was_measured_is_not_proven(
    kind: str, data: bytes, measured: bytes
) -> None:
    assert event(kind, data, measured, text=".linux").proven_data(Bank.SHA256) is None


def test_data_is_not_proven_in_a_bank_that_the_event_has_no_digest_of() -> None:
    assert event("EV_SEPARATOR", bytes(4), bytes(4)).proven_data(Bank.SHA1) is None


def test_partition_table_gives_type_and_place_of_each_partition() -> None:
    table = event_data.partition_table(gpt("esp"))
    assert table is not None
    (partition,) = table.partitions
    assert (partition.type_guid, partition.first_block, partition.last_block) == (OWNER_TEXT, 64, 127)


def test_variable_gives_its_vendor_and_content() -> None:
    assert event_data.variable(variable("db", b"x")) == event_data.Variable(
        guid=OWNER_TEXT, name="db", data=b"x"
    )
