# SPDX-License-Identifier: Apache-2.0
"""Tests on the logs of a real boot: against the registers that its TPM signed, and against others' tools."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from mantlet_measure.canonical_log import decode_canonical_log, encode_canonical_log
from mantlet_measure.cel import decode_system_log
from mantlet_measure.eventlog import decode_firmware_log, encode_firmware_log
from mantlet_measure.pcr import BANKS, Bank, Register, replay_events
from tests.unit.measure import recorded
from tests.unit.measure.samples import EVENTS, firmware_log, sha1_log

BOOT = recorded.boot()
FIRMWARE = decode_firmware_log(BOOT.firmware_log)
SYSTEM = decode_system_log(BOOT.system_log)
AGENT = tuple(record.extended() for record in BOOT.agent_log)


@pytest.mark.parametrize("bank", BANKS)
def test_the_logs_replay_to_the_registers_that_the_tpm_signed(bank: Bank) -> None:
    events = (*FIRMWARE.complete(BANKS).events, *SYSTEM.complete(BANKS).events, *AGENT)
    values = dict(replay_events(bank, events, locality=FIRMWARE.startup_locality))
    signed = dict(BOOT.registers[bank])
    # The kernel's log of register 10 (IMA) is not among these.
    assert values.pop(Register.IMA) != signed.pop(Register.IMA)
    assert values == signed


def test_the_log_is_written_again_byte_for_byte() -> None:
    written = encode_firmware_log(
        FIRMWARE.events, banks=FIRMWARE.banks, startup_locality=FIRMWARE.startup_locality
    )
    assert written == BOOT.firmware_log[: FIRMWARE.whole]


def test_events_say_in_words_what_they_are() -> None:
    said = {event.number: f"{event.claimed_type} {event.claimed_text}" for event in FIRMWARE.events}
    boot_file = r"HD(4,GPT,DAAAA24A-6467-5ED0-89F1-B04CE6E83E99,0x1A000,0x11000)/\EFI\BOOT\BOOTX64.EFI"
    assert {number: said[number] for number in (1, 2, 4, 10, 14, 15, 18, 19, 28, 29, 30, 42, 44, 46)} == {
        1: "EV_S_CRTM_VERSION 2026.08+ds-2",
        2: "EV_EFI_PLATFORM_FIRMWARE_BLOB 851968 bytes at 0x830000",
        4: "EV_EFI_VARIABLE_DRIVER_CONFIG SecureBoot = 01",
        10: "EV_PLATFORM_CONFIG_FLAGS ACPI DATA",
        14: "EV_EFI_VARIABLE_BOOT BootOrder = 0002 0000 0001",
        15: "EV_EFI_VARIABLE_BOOT Boot0002 = UEFI Misc Device: PciRoot(0x0)/Pci(0x1,0x0)",
        18: "EV_EFI_ACTION Calling EFI Application from Boot Option",
        19: "EV_SEPARATOR 00000000",
        28: "EV_EFI_GPT_EVENT disk ee5f2cee-4164-499a-9bfd-c5a2471baeb0: "
        "root-x86-64, root-x86-64-verity, root-x86-64-verity-sig, esp",
        29: f"EV_EFI_BOOT_SERVICES_APPLICATION PciRoot(0x0)/Pci(0x1,0x0)/{boot_file}",
        30: "EV_IPL .linux",
        42: "EV_EVENT_TAG tag 0xd5cb7cbc smbios:type1",
        44: "EV_EVENT_TAG tag 0x8f3b22ec Linux initrd",
        46: "EV_EFI_ACTION Exit Boot Services Returned with Success",
    }


@pytest.mark.parametrize("bank", BANKS)
def test_the_log_carries_what_was_measured_of_small_things_and_describes_the_large(bank: Bank) -> None:
    described = {event.number for event in FIRMWARE.events if event.proven_data(bank) is None}
    # Firmware volumes, ACPI tables, a table of tables, the UKI, its six sections, SMBIOS, options, initrd.
    assert described == {2, 3, 10, 11, 12, 13, 26, 29, 31, 33, 35, 37, 39, 41, 42, 43, 44}
    proven = {event.number: event.proven_data(bank) for event in FIRMWARE.events}
    assert proven[14] == bytes.fromhex("020000000100")
    assert proven[30] == b".linux\0"
    assert [event.proven_data(bank) for event in SYSTEM.events][:2] == [b"os-separator", b"enter-initrd"]


def tpm2_eventlog(log: bytes, tools: Any, folder: Path) -> Any:
    """What tpm2-tools reads in the log."""
    (folder / "log").write_bytes(log)
    command = tools.command(["tpm2_eventlog", str(folder / "log")], ro=(folder,))
    return yaml.safe_load(subprocess.run(command, check=True, capture_output=True).stdout)


@pytest.mark.parametrize(
    "log",
    [BOOT.firmware_log, firmware_log(EVENTS, locality=3), sha1_log(EVENTS)],
    ids=["recorded", "three banks", "SHA-1 form"],
)
def test_tpm2_eventlog_replays_to_the_same_registers(log: bytes, tools: Any, tmp_path: Path) -> None:
    listed = tpm2_eventlog(log, tools, tmp_path)
    ours = decode_firmware_log(log)
    for bank in ours.banks:
        values = replay_events(bank, ours.events, locality=ours.startup_locality)
        theirs = {number: value.to_bytes(bank.size, "big") for number, value in listed["pcrs"][bank].items()}
        assert theirs == {number: values[number] for number in theirs}
        assert set(theirs) == {event.register for event in ours.events}


def test_tpm2_eventlog_numbers_and_names_the_events_the_same(tools: Any, tmp_path: Path) -> None:
    # Not for the SHA-1 form: there it writes all events as one mapping.
    listed = tpm2_eventlog(BOOT.firmware_log, tools, tmp_path)
    named = [
        (event["EventNum"], event["PCRIndex"], event["EventType"])
        for event in listed["events"]
        if event["EventType"] != "EV_NO_ACTION"
    ]
    assert named == [(event.number, event.register, event.claimed_type) for event in FIRMWARE.events]


def _records(document: bytes) -> list[dict[str, Any]]:
    """What of a CEL-JSON array is not the writer's own choice."""
    records: list[dict[str, Any]] = json.loads(document)
    for record in records:
        del record["recnum"]
        record["digests"].sort(key=lambda digest: digest["hashAlg"])
        for member in ("bootId", "timestamp"):
            record["content"].pop(member, None)
    return records


def test_systemd_pcrlock_exports_the_same_records(tools: Any, tmp_path: Path) -> None:
    (tmp_path / "firmware").write_bytes(BOOT.firmware_log)
    (tmp_path / "system").write_bytes(BOOT.system_log)
    argv = [
        "env",
        f"SYSTEMD_MEASURE_LOG_FIRMWARE={tmp_path / 'firmware'}",
        f"SYSTEMD_MEASURE_LOG_USERSPACE={tmp_path / 'system'}",
        "/usr/lib/systemd/systemd-pcrlock",
        "cel",
        "--json=short",
    ]
    exported = subprocess.run(tools.command(argv, ro=(tmp_path,)), check=True, capture_output=True).stdout
    assert _records(encode_canonical_log((*FIRMWARE.events, *SYSTEM.events))) == _records(exported)
    told = [
        (event.register, event.claimed_type, event.claimed_text, event.digests)
        for event in decode_canonical_log(exported).events
    ]
    assert told == [
        (event.register, event.claimed_type, event.claimed_text, event.digests)
        for event in (*FIRMWARE.events, *SYSTEM.events)
    ]
