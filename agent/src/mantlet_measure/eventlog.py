# SPDX-License-Identifier: Apache-2.0
"""The firmware's event log, crypto-agile or of the SHA-1 form (TCG PC Client PFP 1.06, *Event Logging*).

Owns reading and writing of `binary_bios_measurements`. It compares nothing: whether the log is true is a
matter of replaying it against quoted values, and even then only the digests are proven (`LoggedEvent`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

from mantlet_measure.errors import DecodeError
from mantlet_measure.event_text import claimed_text
from mantlet_measure.event_types import EventType, type_name, type_number
from mantlet_measure.logged import REGISTERS, LoggedEvent
from mantlet_measure.pcr import BANKS, Bank
from mantlet_measure.reader import EndOfDataError, Reader
from mantlet_measure.spec_id import SIGNATURE, LogForm, decode_form

__all__ = ["WHAT", "FirmwareLog", "LoggedEvent", "decode_firmware_log", "encode_firmware_log"]

WHAT = "firmware log"
_LIMIT = 1 << 20
_EVENTS = 4096
_LOCALITY = b"StartupLocality\0"


@dataclass(frozen=True, slots=True, kw_only=True)
class FirmwareLog:
    """The events that extended a register, in order; EV_NO_ACTION extends none and is left out.

    banks: those that every event has a digest of. startup_locality: what register 0 starts from, 0 unless
    stated. truncated: the log ends inside a record, at byte `whole`; what stands before is here.
    """

    events: tuple[LoggedEvent, ...]
    banks: tuple[Bank, ...]
    startup_locality: int
    truncated: bool
    whole: int

    def complete(self, banks: tuple[Bank, ...] = BANKS) -> Self:
        """Return the log if it can prove registers of `banks`. DecodeError if it is cut or lacks one."""
        if self.truncated:
            raise DecodeError(
                WHAT,
                expected="a whole log",
                found="the end inside a record",
                offset=self.whole,
                hint="read the log again, without a limit: a log that was cut proves nothing",
            )
        for bank in banks:
            if bank not in self.banks:
                raise DecodeError(
                    WHAT,
                    expected=f"digests of bank {bank}",
                    found=f"those of {', '.join(self.banks) or 'no known bank'}",
                    offset=0,
                    hint=f"switch the TPM's {bank} bank on in the firmware",
                )
        return self


class _Record(NamedTuple):
    register: int
    kind: int
    digests: Mapping[Bank, bytes]
    data: bytes


def decode_firmware_log(data: bytes) -> FirmwareLog:
    """Decode a log of at most 1 MiB, with zeros or erased flash behind it or not.

    DecodeError, with the offset, on anything else. A log that is cut is decoded as far as it is whole.
    """
    if not data or len(data) > _LIMIT:
        raise DecodeError(WHAT, expected=f"1 to {_LIMIT} bytes", found=f"{len(data)}")
    form = decode_form(data, WHAT)
    reader = Reader(data, WHAT)
    reader.take(form.start)
    # From here on to the end there is nothing but zeros, or nothing but 0xFF.
    padding = min(len(data.rstrip(b"\0")), len(data.rstrip(b"\xff")))
    if padding <= form.start and not form.agile:
        reader.refuse(expected="a first event", found="nothing but padding", offset=0)
    events: list[LoggedEvent] = []
    number, locality, whole, truncated = form.records, 0, form.start, False
    while reader.offset < padding:
        try:
            record = _agile_record(reader, form) if form.agile else _sha1_record(reader)
        except EndOfDataError:
            truncated = True
            break
        if record.kind == EventType.EV_NO_ACTION:
            # PFP 1.06, *Startup Locality Event*: the last byte of register 0 before its first extend.
            if record.data.startswith(_LOCALITY) and len(record.data) == len(_LOCALITY) + 1:
                locality = record.data[-1]
        else:
            events.append(_event(number, record))
        number, whole = number + 1, reader.offset
        if number > _EVENTS:
            reader.refuse(expected=f"at most {_EVENTS} records", found="one more", offset=whole)
    return FirmwareLog(
        events=tuple(events), banks=form.banks, startup_locality=locality, truncated=truncated, whole=whole
    )


def _event(number: int, record: _Record) -> LoggedEvent:
    return LoggedEvent(
        number=number,
        register=record.register,
        digests=record.digests,
        claimed_type=type_name(record.kind),
        claimed_text=claimed_text(record.kind, record.data),
        claimed_data=record.data,
    )


def _head(reader: Reader) -> tuple[int, int]:
    """Read register and type; events without action may name any register."""
    register, kind = reader.u32le(), reader.u32le()
    if register >= REGISTERS and kind != EventType.EV_NO_ACTION:
        reader.refuse(expected=f"a register below {REGISTERS}", found=str(register), offset=reader.offset - 8)
    return register, kind


def _data(reader: Reader) -> bytes:
    size = reader.u32le()
    if size > _LIMIT:
        # No cut explains this: such an event fits into no log.
        reader.refuse(
            expected=f"event data of at most {_LIMIT} bytes", found=str(size), offset=reader.offset - 4
        )
    return reader.take(size)


def _sha1_record(reader: Reader) -> _Record:
    """Read TCG_PCR_EVENT."""
    register, kind = _head(reader)
    digest = reader.take(Bank.SHA1.size)
    return _Record(register, kind, {Bank.SHA1: digest}, _data(reader))


def _agile_record(reader: Reader, form: LogForm) -> _Record:
    """Read TCG_PCR_EVENT2: a digest of each algorithm of the specification ID, once, in any order."""
    register, kind = _head(reader)
    start = reader.offset
    count = reader.u32le()
    # Nothing is extended by an event without action, and some firmware leaves its digests out.
    if count > len(form.sizes) or (count < len(form.sizes) and kind != EventType.EV_NO_ACTION):
        reader.refuse(expected=f"{len(form.sizes)} digests", found=str(count), offset=start)
    found: dict[int, bytes] = {}
    for _ in range(count):
        algorithm = reader.u16le()
        if algorithm not in form.sizes or algorithm in found:
            reader.refuse(
                expected="each algorithm of the specification ID once",
                found=f"0x{algorithm:04x}",
                offset=reader.offset - 2,
            )
        found[algorithm] = reader.take(form.sizes[algorithm])
    digests = {bank: found[bank.tpm_alg] for bank in form.banks if bank.tpm_alg in found}
    return _Record(register, kind, digests, _data(reader))


def encode_firmware_log(
    events: Iterable[LoggedEvent], *, banks: tuple[Bank, ...] = BANKS, startup_locality: int = 0
) -> bytes:
    """Write a crypto-agile log of these events, which have digests of all `banks`.

    ValueError when an event's type is neither a name of the specification nor a number.
    """
    sizes = b"".join(_le(bank.tpm_alg, 2) + _le(bank.size, 2) for bank in banks)
    # Platform class 0 (client), specification 2.0 errata 0, size of UINTN 2 (64 bits), no vendor info.
    spec_id = SIGNATURE + bytes(4) + b"\0\2\0\2" + _le(len(banks), 4) + sizes + b"\0"
    parts = [_le(0, 4) + _le(EventType.EV_NO_ACTION, 4) + bytes(20) + _le(len(spec_id), 4) + spec_id]
    if startup_locality:
        zeros = {bank: bytes(bank.size) for bank in banks}
        data = _LOCALITY + bytes([startup_locality])
        parts.append(_agile(_Record(0, EventType.EV_NO_ACTION, zeros, data), banks))
    for event in events:
        kind = type_number(event.claimed_type)
        if kind is None:
            raise ValueError(f"{event.claimed_type} is no type of a firmware event")
        parts.append(_agile(_Record(event.register, kind, event.digests, event.claimed_data), banks))
    return b"".join(parts)


def _agile(record: _Record, banks: tuple[Bank, ...]) -> bytes:
    digests = b"".join(_le(bank.tpm_alg, 2) + record.digests[bank] for bank in banks)
    head = _le(record.register, 4) + _le(record.kind, 4) + _le(len(banks), 4)
    return head + digests + _le(len(record.data), 4) + record.data


def _le(value: int, size: int) -> bytes:
    return value.to_bytes(size, "little")
