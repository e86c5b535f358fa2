# SPDX-License-Identifier: Apache-2.0
"""Logs of all origins as one array: the JSON encoding of the TCG Canonical Event Log 1.0.

Owns what systemd's own log lacks: record numbers, and the firmware's events (`pcclient_std`), as
`systemd-pcrlock cel` writes both. Evidence does not carry this form.
"""

from collections.abc import Iterable

from mantlet_measure import strictjson
from mantlet_measure.errors import DecodeError, shown
from mantlet_measure.event_text import claimed_text
from mantlet_measure.event_types import EventType, type_name, type_number
from mantlet_measure.logged import REGISTERS, LoggedEvent
from mantlet_measure.strictjson import Fields
from mantlet_measure.system_log import (
    NvRecord,
    SystemLog,
    decode_digests,
    decode_record,
    encode_digests,
    encode_record,
    of_records,
)

WHAT = "canonical log"
_FIRMWARE = "pcclient_std"
_RECORDS = 4096
_ALGORITHMS = 16
_DATA = 1 << 20


def decode_canonical_log(data: bytes) -> SystemLog:
    """Decode an array of at most 1 MiB; EV_NO_ACTION extends nothing and is left out.

    Where register 0 starts from is not in this form. DecodeError on anything else.
    """
    value = strictjson.decode(data, what=WHAT)
    if not isinstance(value, list) or len(value) > _RECORDS:
        raise DecodeError(WHAT, expected=f"an array of at most {_RECORDS} records", found=shown(value))
    records: list[LoggedEvent | NvRecord] = []
    first: int | None = None
    for place, item in enumerate(value):
        fields = Fields(item, f"{WHAT}: record {place}")
        # CEL 1.0, *recnum*: ascending by one. systemd starts at 1, the specification's examples at 0.
        low, high = (0, 1) if first is None else (first + place, first + place)
        number = fields.integer("recnum", low, high)
        first = number if first is None else first
        if fields.text("content_type") != _FIRMWARE:
            records.append(decode_record(fields, number))
        elif (event := _firmware_event(fields, number)) is not None:
            records.append(event)
    return of_records(records, truncated=False)


def _firmware_event(fields: Fields, number: int) -> LoggedEvent | None:
    content = fields.fields("content")
    kind = type_number(content.text("event_type", limit=64))
    if kind is None:
        content.refuse("event_type", "a type of the PC Client profile")
    data = bytes.fromhex(content.text("event_data", pattern=r"([0-9a-f]{2})*", limit=_DATA))
    event = LoggedEvent(
        number=number,
        register=fields.integer("pcr", 0, REGISTERS - 1),
        digests=decode_digests(fields.sequence("digests", limit=_ALGORITHMS), fields.what),
        claimed_type=type_name(kind),
        claimed_text=claimed_text(kind, data),
        claimed_data=data,
    )
    content.done()
    fields.done()
    return None if kind == EventType.EV_NO_ACTION else event


def encode_canonical_log(records: Iterable[LoggedEvent | NvRecord]) -> bytes:
    """Write records of any log, numbered from 0; those of an `EV_` type are the firmware's."""
    return strictjson.encode([{"recnum": number} | _value(record) for number, record in enumerate(records)])


def _value(record: LoggedEvent | NvRecord) -> dict[str, object]:
    if isinstance(record, NvRecord) or type_number(record.claimed_type) is None:
        return encode_record(record, boot_id="0" * 32, timestamp=0)
    return {
        "pcr": record.register,
        "digests": encode_digests(record.digests),
        "content_type": _FIRMWARE,
        "content": {"event_type": record.claimed_type, "event_data": record.claimed_data.hex()},
    }
