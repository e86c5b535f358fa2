# SPDX-License-Identifier: Apache-2.0
"""systemd's log of what it measures: `tpm2-measure.log`, a JSON text sequence (RFC 7464).

Owns its records, which have the members of the TCG Canonical Event Log in JSON, but no numbers. The numbered
array that the specification has is `canonical_log`'s. Replay is not here.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from mantlet_measure import strictjson
from mantlet_measure.errors import DecodeError, shown
from mantlet_measure.logged import REGISTERS, LoggedEvent, printable
from mantlet_measure.pcr import ALL_BANKS, BANKS, Bank
from mantlet_measure.strictjson import Fields

WHAT = "system log"
_LIMIT = 1 << 20
_RECORDS = 4096
_TEXT = 4096
_ALGORITHMS = 16
_EVENT = r"[a-z][a-z-]{0,31}"
_CONTENT_TYPE = "systemd"


@dataclass(frozen=True, slots=True, kw_only=True)
class NvRecord:
    """One extend of an NV index, which extends no register (systemd's NvPCRs). `name` is the index' own."""

    number: int
    index: int
    name: str
    digests: Mapping[Bank, bytes]
    claimed_type: str
    claimed_text: str
    claimed_data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemLog:
    """What user space measured, in order. truncated: the last record is cut, and left out."""

    events: tuple[LoggedEvent, ...]
    indices: tuple[NvRecord, ...]
    truncated: bool

    def complete(self, banks: tuple[Bank, ...] = BANKS) -> Self:
        """Return the log if it can prove registers of `banks`. DecodeError if it is cut or lacks a digest."""
        if self.truncated:
            raise DecodeError(
                WHAT,
                expected="a newline at its end",
                found="the end inside a record",
                hint="read the log again, without a limit: a log that was cut proves nothing",
            )
        for event in self.events:
            for bank in banks:
                if bank not in event.digests:
                    raise DecodeError(
                        f"{WHAT}: record {event.number}",
                        expected=f"digests of {' and '.join(banks)}",
                        found=f"none of {bank}",
                        hint=f"switch the TPM's {bank} bank on in the firmware",
                    )
        return self


def decode_system_log(data: bytes) -> SystemLog:
    """Decode a log of at most 1 MiB, whose last record may be cut. DecodeError on anything else."""
    if len(data) > _LIMIT:
        raise DecodeError(WHAT, expected=f"at most {_LIMIT} bytes", found=f"{len(data)}")
    # RFC 7464, 2.1: each text is RS (0x1E), JSON, LF.
    head, *records = data.split(b"\x1e", _RECORDS + 1)
    if head or len(records) > _RECORDS:
        raise DecodeError(
            WHAT, expected=f"0x1E before each of at most {_RECORDS} records", found=shown(head[:32]), offset=0
        )
    # RFC 7464, 2.4: what does not end in LF was cut.
    truncated = bool(records) and not records[-1].endswith(b"\n")
    decoded = [
        decode_record(_members(record, number), number)
        for number, record in enumerate(records[:-1] if truncated else records)
    ]
    return of_records(decoded, truncated=truncated)


def _members(record: bytes, number: int) -> Fields:
    what = f"{WHAT}: record {number}"
    if not record.endswith(b"\n"):
        raise DecodeError(what, expected="a newline at its end", found=shown(record[-16:]))
    return Fields(strictjson.decode(record, what=what), what)


def of_records(records: Sequence[LoggedEvent | NvRecord], *, truncated: bool) -> SystemLog:
    """Sort records of a log into those of registers and those of NV indices."""
    return SystemLog(
        events=tuple(record for record in records if isinstance(record, LoggedEvent)),
        indices=tuple(record for record in records if isinstance(record, NvRecord)),
        truncated=truncated,
    )


def decode_record(fields: Fields, number: int) -> LoggedEvent | NvRecord:
    """Read one of systemd's records; boot ID and time are checked for form alone."""
    fields.constant("content_type", _CONTENT_TYPE)
    digests = decode_digests(fields.sequence("digests", limit=_ALGORITHMS), fields.what)
    content = fields.fields("content")
    text = content.text("string", limit=_TEXT) if content.has("string") else ""
    kind = content.text("eventType", pattern=_EVENT) if content.has("eventType") else ""
    content.text("bootId", pattern=r"[0-9a-f]{32}")
    content.integer("timestamp", 0, 1 << 53)
    record: LoggedEvent | NvRecord
    if fields.has("nv_index"):
        record = NvRecord(
            number=number,
            index=fields.integer("nv_index", 0, 0xFFFFFFFF),
            name=content.text("nvIndexName") if content.has("nvIndexName") else "",
            digests=digests,
            claimed_type=kind,
            claimed_text=printable(text, _TEXT),
            claimed_data=text.encode(),
        )
    else:
        record = LoggedEvent(
            number=number,
            register=fields.integer("pcr", 0, REGISTERS - 1),
            digests=digests,
            claimed_type=kind,
            claimed_text=printable(text, _TEXT),
            claimed_data=text.encode(),
        )
    content.done()
    fields.done()
    return record


def encode_system_log(log: SystemLog, *, boot_id: str = "0" * 32, timestamp: int = 0) -> bytes:
    """Write a log as systemd does: whole, and all records of one time. ValueError on data that is no text."""
    records: list[LoggedEvent | NvRecord] = [*log.events, *log.indices]
    records.sort(key=lambda record: record.number)
    values = (encode_record(record, boot_id=boot_id, timestamp=timestamp) for record in records)
    return b"".join(b"\x1e" + json.dumps(value, ensure_ascii=False).encode() + b"\n" for value in values)


def encode_record(record: LoggedEvent | NvRecord, *, boot_id: str, timestamp: int) -> dict[str, object]:
    """Return the JSON value that `decode_record` reads."""
    content: dict[str, object] = {"bootId": boot_id, "timestamp": timestamp}
    if record.claimed_data:
        content["string"] = record.claimed_data.decode()
    if record.claimed_type:
        content["eventType"] = record.claimed_type
    place: dict[str, object]
    if isinstance(record, LoggedEvent):
        place = {"pcr": record.register}
    else:
        place = {"nv_index": record.index}
        if record.name:
            content["nvIndexName"] = record.name
    digests = encode_digests(record.digests)
    return place | {"digests": digests, "content_type": _CONTENT_TYPE, "content": content}


def decode_digests(items: Sequence[object], what: str) -> Mapping[Bank, bytes]:
    """Read `digests`; algorithms that are no bank of Mantlet's are checked for form and left out."""
    found: dict[Bank, bytes] = {}
    names: set[str] = set()
    for item in items:
        fields = Fields(item, f"{what}: digests")
        name = fields.text("hashAlg", pattern=r"[a-z0-9_-]{1,16}")
        if name in names:
            fields.refuse("hashAlg", "each algorithm once")
        names.add(name)
        if name in ALL_BANKS:
            bank = Bank(name)
            found[bank] = fields.hex("digest", bank.size)
        else:
            fields.text("digest", pattern=r"([0-9a-f]{2}){1,128}")
        fields.done()
    return found


def encode_digests(digests: Mapping[Bank, bytes]) -> list[object]:
    """Return the JSON value that `decode_digests` reads, banks in their order."""
    return [{"hashAlg": bank.value, "digest": digests[bank].hex()} for bank in ALL_BANKS if bank in digests]
