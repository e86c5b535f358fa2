# SPDX-License-Identifier: Apache-2.0
"""Logs of what user space measures, in the JSON form of the TCG Canonical Event Log.

Owns the agent's log (docs/formats.md, *Agent log*); systemd's comes from `system_log`. Replay is not here,
nor the check that a word hashes to its digest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mantlet_measure.errors import DecodeError, shown
from mantlet_measure.logged import LoggedEvent
from mantlet_measure.pcr import BANKS, Bank, Register, measured
from mantlet_measure.strictjson import Fields
from mantlet_measure.system_log import (
    NvRecord,
    SystemLog,
    decode_digests,
    decode_system_log,
    encode_digests,
    encode_system_log,
)

__all__ = [
    "AGENT_LOG",
    "AgentRecord",
    "NvRecord",
    "SystemLog",
    "agent_record",
    "decode_agent_log",
    "decode_system_log",
    "encode_agent_log",
    "encode_system_log",
]

AGENT_LOG = "agent log"
_CONTENT_TYPE = "mantlet"
_AGENT_RECORDS = 64
_EVENT = r"[a-z][a-z-]{0,31}"
_WORD = r"[!-~]{1,512}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRecord:
    """One word that the agent says it extended into register 15."""

    recnum: int
    event: str
    word: str
    digests: Mapping[Bank, bytes]

    def extended(self) -> LoggedEvent:
        """Return the record as an event, with the digests that it claims."""
        return LoggedEvent(
            number=self.recnum,
            register=Register.SYSTEM_IDENTITY,
            digests=self.digests,
            claimed_type=self.event,
            claimed_text=self.word,
            claimed_data=self.word.encode("ascii"),
        )


def agent_record(recnum: int, event: str, word: str) -> AgentRecord:
    """Return the one true record of `word`: its digests are those of the word."""
    digests = measured(Register.SYSTEM_IDENTITY, word.encode("ascii"), type=event, description=word).digests
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
    digests = decode_digests(fields.sequence("digests", limit=len(BANKS)), what)
    if set(digests) != set(BANKS):
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
            "digests": encode_digests(record.digests),
            "content_type": _CONTENT_TYPE,
            "content": {"event": record.event, "word": record.word},
        }
        for record in records
    ]
