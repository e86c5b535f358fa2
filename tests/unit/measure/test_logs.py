# SPDX-License-Identifier: Apache-2.0
"""Tests of the three logs: the firmware's, systemd's and the agent's."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mantlet_measure.cel import agent_record, decode_agent_log, decode_system_log, encode_agent_log
from mantlet_measure.errors import DecodeError
from mantlet_measure.eventlog import decode_firmware_log, startup_locality
from mantlet_measure.pcr import BANKS, Bank, replay_events
from tests.unit.measure.samples import EVENTS, PHASES, firmware_log, no_action, system_log

# The end of an event behind its register: an action, three digests, no data.
_TAIL = firmware_log(((4, 0x80000007, b""),))[-118:]


def test_firmware_log_yields_its_events_in_order() -> None:
    events = decode_firmware_log(firmware_log(EVENTS))
    assert [(event.register, event.claimed_type, event.description) for event in events] == [
        (0, "EV_S_CRTM_VERSION", "2026.08"),
        (4, "EV_EFI_ACTION", "Calling EFI Application from Boot Option"),
        (4, "EV_SEPARATOR", ""),
        (11, "EV_IPL", ".linux"),
        (9, "EV_EVENT_TAG", "tag 0x8f3b22ec Linux initrd"),
    ]


def test_firmware_log_replays_as_tpm2_eventlog_replays_it(tools: Any, tmp_path: Path) -> None:
    log = firmware_log(EVENTS, locality=3)
    path = tmp_path / "log"
    path.write_bytes(log)
    command = tools.command(["tpm2_eventlog", str(path)], ro=(tmp_path,))
    listed = yaml.safe_load(subprocess.run(command, check=True, capture_output=True).stdout)["pcrs"]
    for bank in BANKS:
        values = replay_events(bank, decode_firmware_log(log), locality=startup_locality(log))
        for register, value in listed[bank.value].items():
            assert values[register] == value.to_bytes(bank.size, "big")


def test_event_without_action_extends_nothing() -> None:
    log = firmware_log(EVENTS) + no_action(b"anything")
    assert decode_firmware_log(log) == decode_firmware_log(firmware_log(EVENTS))


@pytest.mark.parametrize("padding", [b"\xff", b"\0"])
def test_padding_behind_the_log_is_no_event(padding: bytes) -> None:
    log = firmware_log(EVENTS)
    assert decode_firmware_log(log + padding * 100) == decode_firmware_log(log)


def test_startup_locality_is_read_from_the_log() -> None:
    assert startup_locality(firmware_log(EVENTS, locality=3)) == 3
    assert startup_locality(firmware_log(EVENTS)) == 0


@pytest.mark.parametrize("cut", [1, 5, 40, 100])
def test_truncated_firmware_log_is_refused(cut: int) -> None:
    with pytest.raises(DecodeError, match="firmware log"):
        decode_firmware_log(firmware_log(EVENTS)[:-cut])


def test_firmware_log_of_the_sha1_era_is_refused() -> None:
    old = bytes(4) + (8).to_bytes(4, "little") + bytes(20) + (2).to_bytes(4, "little") + b"\0\0"
    with pytest.raises(DecodeError):
        decode_firmware_log(old)


def test_firmware_log_without_one_of_the_banks_is_refused() -> None:
    log = firmware_log(EVENTS).replace(b"\x0c\x00\x30\x00", b"\x0d\x00\x30\x00", 1)
    with pytest.raises(DecodeError, match="bank sha384"):
        decode_firmware_log(log)


def test_event_that_lists_one_digest_twice_is_refused() -> None:
    log = firmware_log(EVENTS)
    start = log.index(b"\x0c\x00", log.index(b"\x0b\x00", 90) + 34)
    with pytest.raises(DecodeError, match="each algorithm"):
        decode_firmware_log(log[:start] + b"\x04\x00" + log[start + 2 :])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            lambda log: log.replace(b"\x03\x00\x00\x00\x04\x00\x14", b"\x11\x00\x00\x00\x04\x00\x14", 1),
            "algorithms",
        ),
        (lambda log: log.replace(b"\x0b\x00\x20\x00", b"\x04\x00\x20\x00", 1), "each algorithm once"),
        (lambda log: log + (24).to_bytes(4, "little") + _TAIL, "a register below 24"),
        (lambda log: log + (4).to_bytes(4, "little") + _TAIL.replace(b"\x03", b"\x02", 1), "3 digests"),
        (lambda log: log + b"\x01" * (1 << 20), "at most"),
    ],
)
def test_firmware_log_that_breaks_its_own_header_is_refused(
    change: Callable[[bytes], bytes], why: str
) -> None:
    with pytest.raises(DecodeError, match=why):
        decode_firmware_log(change(firmware_log(EVENTS)))


def test_variable_event_is_described_by_the_name_of_the_variable() -> None:
    data = bytes(16) + (2).to_bytes(8, "little") + (1).to_bytes(8, "little") + "db".encode("utf-16-le") + b"x"
    (event,) = decode_firmware_log(firmware_log(((7, 0x80000001, data),)))
    assert (event.claimed_type, event.description) == ("EV_EFI_VARIABLE_DRIVER_CONFIG", "db")


def test_event_of_an_unknown_type_keeps_its_number() -> None:
    (event,) = decode_firmware_log(firmware_log(((1, 0x42, b"x"),)))
    assert event.claimed_type == "0x00000042"


def test_unprintable_description_is_made_harmless() -> None:
    (event,) = decode_firmware_log(firmware_log(((4, 0x80000007, b"a\x1b[2J"),)))
    assert event.description == "a\N{REPLACEMENT CHARACTER}[2J"


def test_system_log_over_its_limit_is_refused() -> None:
    with pytest.raises(DecodeError, match="at most"):
        decode_system_log(bytes((1 << 20) + 1))


def test_record_of_an_nv_index_without_a_name_extends_no_register() -> None:
    log = system_log(PHASES[:1]).replace(b'"pcr":11', b'"nv_index":1')
    assert decode_system_log(log) == ()


def test_system_log_yields_its_phases() -> None:
    assert decode_system_log(system_log(PHASES)) == PHASES


def test_empty_system_log_has_no_events() -> None:
    assert decode_system_log(b"") == ()


def test_record_of_an_nv_index_extends_no_register() -> None:
    record = (
        b'\x1e{"nv_index":30474752,"digests":[{"hashAlg":"sha256","digest":"' + b"00" * 32 + b'"}],'
        b'"content_type":"systemd","content":{"nvIndexName":"hardware","bootId":"'
        + b"00" * 16
        + b'","timestamp":1}}\n'
    )
    assert decode_system_log(record) == ()


def test_bank_that_is_not_quoted_does_not_disturb_the_system_log() -> None:
    log = system_log(PHASES).replace(
        b'"digests":[', b'"digests":[{"hashAlg":"sha1","digest":"' + b"00" * 20 + b'"},'
    )
    assert decode_system_log(log) == PHASES


@pytest.mark.parametrize(
    "log",
    [
        system_log(PHASES)[1:],
        system_log(PHASES)[:-1],
        system_log(PHASES)[:-20],
        system_log(PHASES) + b"\x1e",
        system_log(PHASES).replace(b'"pcr":11', b'"pcr":24'),
        system_log(PHASES).replace(b'"pcr":11,', b""),
        system_log(PHASES).replace(b'"systemd"', b'"other"'),
        system_log(PHASES).replace(b'"timestamp":4711', b'"timestamp":4711,"extra":1'),
        system_log(PHASES).replace(b"sha384", b"sha512"),
        system_log(PHASES).replace(b"sha384", b"sha256"),
    ],
)
def test_system_log_that_is_cut_or_changed_in_shape_is_refused(log: bytes) -> None:
    with pytest.raises(DecodeError, match="system log"):
        decode_system_log(log)


def test_agent_log_survives_a_round_trip() -> None:
    records = (agent_record(0, "deployment", "mantlet:deployment:00"), agent_record(1, "cap", "mantlet:cap"))
    assert decode_agent_log(encode_agent_log(records)) == records
    assert records[1].extended().digests[Bank.SHA256] == Bank.SHA256.digest(b"mantlet:cap")


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("recnum", 1),
        ("recnum", False),
        ("pcr", 14),
        ("content_type", "systemd"),
        ("digests", []),
        ("content", {"event": "cap", "word": "mantlet:cap", "more": 1}),
        ("content", {"event": "cap", "word": "two words"}),
        ("surprise", 1),
    ],
)
def test_agent_record_out_of_shape_is_refused(member: str, value: object) -> None:
    (record,) = encode_agent_log((agent_record(0, "cap", "mantlet:cap"),))
    assert isinstance(record, dict)
    with pytest.raises(DecodeError, match="agent log"):
        decode_agent_log([record | {member: value}])


def test_agent_log_that_is_no_array_is_refused() -> None:
    with pytest.raises(DecodeError, match="an array"):
        decode_agent_log({})
