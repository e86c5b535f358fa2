# SPDX-License-Identifier: Apache-2.0
"""Tests of the array of numbered records that holds the logs of all origins."""

import json

import pytest

from mantlet_measure.canonical_log import decode_canonical_log, encode_canonical_log
from mantlet_measure.cel import decode_system_log
from mantlet_measure.errors import DecodeError
from mantlet_measure.eventlog import decode_firmware_log
from tests.unit.measure.samples import EVENTS, NV_RECORD, PHASES, firmware_log, system_log


def test_array_of_numbered_records_holds_what_all_logs_hold() -> None:
    firmware = decode_firmware_log(firmware_log(EVENTS)).events
    system = decode_system_log(system_log(PHASES) + NV_RECORD)
    array = encode_canonical_log((*firmware, *system.events, *system.indices))
    assert [record["recnum"] for record in json.loads(array)] == list(range(8))
    decoded = decode_canonical_log(array)
    told = [(event.register, event.digests, event.claimed_data) for event in (*firmware, *system.events)]
    assert [(event.register, event.digests, event.claimed_data) for event in decoded.events] == told
    assert [event.claimed_text for event in decoded.events[:5]] == [event.claimed_text for event in firmware]
    assert [(record.number, record.name) for record in decoded.indices] == [(7, "hardware")]


def _numbered(*numbers: int, kind: str = "EV_ACTION", data: str = "00") -> bytes:
    record = {
        "pcr": 0,
        "digests": [],
        "content_type": "pcclient_std",
        "content": {"event_type": kind, "event_data": data},
    }
    return json.dumps([record | {"recnum": number} for number in numbers]).encode()


def test_records_may_be_numbered_from_one() -> None:
    assert [event.number for event in decode_canonical_log(_numbered(1, 2)).events] == [1, 2]


def test_numbered_event_without_action_extends_nothing() -> None:
    assert decode_canonical_log(_numbered(0, kind="EV_NO_ACTION")).events == ()


def test_numbered_event_of_an_unknown_type_keeps_its_number() -> None:
    (event,) = decode_canonical_log(_numbered(0, kind="66")).events
    assert event.claimed_type == "0x00000042"


@pytest.mark.parametrize(
    "array",
    [
        b"[",
        b"[1]",
        b'[{"recnum":0}]',
        _numbered(2),
        _numbered(0, 2),
        _numbered(1, 0),
        _numbered(0, kind="phase"),
        _numbered(0, data="0"),
        _numbered(0, data="0G"),
        b"[" + b"1," * 4096 + b"1]",
    ],
)
def test_array_that_is_damaged_or_out_of_order_is_refused(array: bytes) -> None:
    with pytest.raises(DecodeError, match="canonical log"):
        decode_canonical_log(array)
