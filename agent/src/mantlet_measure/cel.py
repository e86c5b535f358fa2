# SPDX-License-Identifier: Apache-2.0
"""Logs of what user space measures, in the JSON form of the TCG Canonical Event Log.

Owns two dialects: systemd's `tpm2-measure.log` (a JSON text sequence, RFC 7464, without record numbers) and
the agent's own array (docs/formats.md, *Agent log*). Replay is not here, nor the check that a word hashes to
its digest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mantlet_measure import strictjson
from mantlet_measure.errors import DecodeError, shown
from mantlet_measure.pcr import BANKS, Bank, Event, Register, measured
from mantlet_measure.strictjson import Fields

SYSTEM_LOG = "system log"
AGENT_LOG = "agent log"
_CONTENT_TYPE = "mantlet"
_LIMIT = 1 << 20
_RECORDS = 4096
_REGISTERS = 24
_AGENT_RECORDS = 64
_EVENT = r"[a-z][a-z-]{0,31}"
_WORD = r"[!-~]{1,512}"


def decode_system_log(data: bytes) -> tuple[Event, ...]:
    """Return the events of systemd's log, in order; records of NV indices extend no register: left out.

    A last record that is cut short is a DecodeError, like anything else that is not such a log.
    """
    if len(data) > _LIMIT:
        raise DecodeError(SYSTEM_LOG, expected=f"at most {_LIMIT} bytes", found=f"{len(data)}")
    # RFC 7464, 2.1: each text is RS (0x1E), JSON, LF.
    head, *records = data.split(b"\x1e")
    if head or len(records) > _RECORDS:
        raise DecodeError(
            SYSTEM_LOG, expected=f"0x1E before each of at most {_RECORDS} records", found=shown(head[:32])
        )
    events = (_system_event(record, f"{SYSTEM_LOG}: record {index}") for index, record in enumerate(records))
    return tuple(event for event in events if event is not None)


def _system_event(record: bytes, what: str) -> Event | None:
    if not record.endswith(b"\n"):
        raise DecodeError(what, expected="a newline at its end", found=shown(record[-16:]))
    fields = Fields(strictjson.decode(record, what=what), what)
    fields.constant("content_type", "systemd")
    digests = _digests(fields.sequence("digests", limit=16), what)
    content = fields.fields("content")
    text = content.text("string") if content.has("string") else ""
    kind = content.text("eventType", pattern=_EVENT) if content.has("eventType") else ""
    content.text("bootId", pattern=r"[0-9a-f]{32}")
    content.integer("timestamp", 0, 1 << 53)
    if fields.has("nv_index"):
        fields.integer("nv_index", 0, 0xFFFFFFFF)
        if content.has("nvIndexName"):
            content.text("nvIndexName")
        content.done()
        fields.done()
        return None
    register = fields.integer("pcr", 0, _REGISTERS - 1)
    content.done()
    fields.done()
    missing = [bank for bank in BANKS if bank not in digests]
    if missing:
        raise DecodeError(what, expected="digests of both banks", found=f"none of {missing[0]}")
    return Event(register=register, digests=digests, claimed_type=kind, description=text)


def _digests(items: Sequence[object], what: str) -> Mapping[Bank, bytes]:
    """Read `digests`; banks that Mantlet does not quote are checked for form and left out."""
    found: dict[Bank, bytes] = {}
    names: set[str] = set()
    for item in items:
        fields = Fields(item, f"{what}: digests")
        name = fields.text("hashAlg", pattern=r"[a-z0-9_-]{1,16}")
        if name in names:
            fields.refuse("hashAlg", "each algorithm once")
        names.add(name)
        if name in BANKS:
            bank = Bank(name)
            found[bank] = fields.hex("digest", bank.size)
        else:
            fields.text("digest", pattern=r"([0-9a-f]{2}){1,128}")
        fields.done()
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRecord:
    """One word that the agent says it extended into register 15."""

    recnum: int
    event: str
    word: str
    digests: Mapping[Bank, bytes]

    def extended(self) -> Event:
        """Return the record as an event, with the digests that it claims."""
        return Event(
            register=Register.SYSTEM_IDENTITY,
            digests=self.digests,
            claimed_type=self.event,
            description=self.word,
        )


def agent_record(recnum: int, event: str, word: str) -> AgentRecord:
    """Return the one true record of `word`: its digests are those of the word."""
    digests = measured(
        Register.SYSTEM_IDENTITY, word.encode("ascii"), claimed_type=event, description=word
    ).digests
    return AgentRecord(recnum=recnum, event=event, word=word, digests=digests)


def decode_agent_log(value: object) -> tuple[AgentRecord, ...]:
    """Build the records from decoded JSON: an array, numbered from zero, of register 15 alone."""
    if not isinstance(value, list) or len(value) > _AGENT_RECORDS:
        raise DecodeError(
            AGENT_LOG, expected=f"an array of at most {_AGENT_RECORDS} records", found=shown(value)
        )
    return tuple(_agent_record(item, index) for index, item in enumerate(value))


def _agent_record(item: object, index: int) -> AgentRecord:
    what = f"{AGENT_LOG}: record {index}"
    fields = Fields(item, what)
    fields.integer("recnum", index, index)
    fields.integer("pcr", Register.SYSTEM_IDENTITY, Register.SYSTEM_IDENTITY)
    fields.constant("content_type", _CONTENT_TYPE)
    digests = _digests(fields.sequence("digests", limit=len(BANKS)), what)
    if len(digests) != len(BANKS):
        fields.refuse("digests", "one of each bank")
    content = fields.fields("content")
    record = AgentRecord(
        recnum=index,
        event=content.text("event", pattern=_EVENT),
        word=content.text("word", pattern=_WORD),
        digests=digests,
    )
    content.done()
    fields.done()
    return record


def encode_agent_log(records: Sequence[AgentRecord]) -> list[object]:
    """Return the JSON value that `decode_agent_log` reads."""
    return [
        {
            "recnum": record.recnum,
            "pcr": int(Register.SYSTEM_IDENTITY),
            "digests": [{"hashAlg": bank.value, "digest": record.digests[bank].hex()} for bank in BANKS],
            "content_type": _CONTENT_TYPE,
            "content": {"event": record.event, "word": record.word},
        }
        for record in records
    ]
