# SPDX-License-Identifier: Apache-2.0
"""Registers that only the firmware's build and the machine's shape settle: taken from a boot, never guessed.

Owns the firmware record (docs/formats.md, *Firmware record*): which events registers 0 to 3 and 6 saw under
one named firmware, taken from a log that must fold to the quoted values where there are any, on a machine
whose shape the record may name. What user space adds to these registers later is predicted, not recorded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mantlet.predict import RECORDED as REGISTERS
from mantlet.predict.boot import FirmwareRecord, Shape
from mantlet_measure import strictjson
from mantlet_measure.errors import DecodeError, MantletError
from mantlet_measure.eventlog import FirmwareLog
from mantlet_measure.logged import LoggedEvent
from mantlet_measure.pcr import ALL_BANKS, BANKS, Bank, Event, replay
from mantlet_measure.strictjson import Fields

FORMAT = "mantlet-firmware/v1"
WHAT = "firmware record"
LIMIT = 1 << 20
_EVENTS = 256
MEMORY_LIMIT = 1 << 26
PROCESSOR_LIMIT = 1 << 16
_TYPE = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
_LINE = r"[ -~]*"
_TEXT = 256


class UnrecordableError(MantletError):
    """A boot that cannot be taken for a reference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A boot: its logs, the values that its TPM quoted or None, and where that comes from, in one line."""

    firmware: FirmwareLog
    system: Sequence[LoggedEvent]
    quoted: Mapping[Bank, Mapping[int, bytes]] | None
    description: str


def record(source: Source, *, firmware_sha256: bytes, shape: Shape | None = None) -> FirmwareRecord:
    """Return the record of this boot under the firmware of that digest, on a machine of that shape.

    DecodeError for a log that was cut or lacks a bank that Mantlet quotes; UnrecordableError for one that
    does not fold to the quoted values, or whose register 0 does not start at zero.
    """
    log = source.firmware.complete(BANKS)
    if log.startup_locality:
        raise UnrecordableError(
            f"firmware log: expected TPM2_Startup at locality 0, found {log.startup_locality}",
            hint="record a machine whose register 0 starts at zero",
        )
    if source.quoted is not None:
        _check(source, source.quoted)
    registers = {
        register: tuple(_event(event, log.banks) for event in log.events if event.register == register)
        for register in REGISTERS
    }
    return FirmwareRecord(
        firmware_sha256=firmware_sha256, source=source.description, registers=registers, shape=shape
    )


def _check(source: Source, quoted: Mapping[Bank, Mapping[int, bytes]]) -> None:
    events = (*source.firmware.events, *source.system)
    for bank in BANKS:
        for register in REGISTERS:
            value = replay(bank, (event.digests[bank] for event in events if event.register == register))
            if value != quoted[bank][register]:
                raise UnrecordableError(
                    f"register {register}, {bank}: expected {quoted[bank][register].hex()}, as quoted, "
                    f"found {value.hex()} by replaying the logs",
                    hint="take logs and values from the same boot",
                )


def _event(event: LoggedEvent, banks: tuple[Bank, ...]) -> Event:
    text = event.claimed_text.encode("ascii", "backslashreplace").decode("ascii")
    return Event(
        register=event.register,
        digests={bank: event.digests[bank] for bank in banks},
        type=event.claimed_type,
        description="".join(char if char.isprintable() else "?" for char in text)[:_TEXT],
    )


def encode(record: FirmwareRecord) -> bytes:
    """Return the canonical JSON of a record."""
    return strictjson.encode(
        {
            "format": FORMAT,
            "firmware_sha256": record.firmware_sha256.hex(),
            "source": record.source,
            **({} if record.shape is None else {"machine": _shape_value(record.shape)}),
            "registers": {
                str(register): [_event_value(event) for event in events]
                for register, events in record.registers.items()
            },
        }
    )


def _shape_value(shape: Shape) -> Mapping[str, object]:
    return {"memory_mib": shape.memory_mib, "processors": shape.processors}


def _event_value(event: Event) -> Mapping[str, object]:
    return {
        "type": event.type,
        "description": event.description,
        "digests": {bank.value: digest.hex() for bank, digest in event.digests.items()},
    }


def decode(data: bytes) -> FirmwareRecord:
    """Decode a record of at most 1 MiB. DecodeError on anything else."""
    fields = Fields(strictjson.decode(data, what=WHAT, limit=LIMIT), WHAT)
    fields.constant("format", FORMAT)
    registers = fields.fields("registers")
    record = FirmwareRecord(
        firmware_sha256=fields.hex("firmware_sha256", 32),
        source=fields.text("source", pattern=_LINE, limit=_TEXT),
        registers={register: _register(registers, register) for register in REGISTERS},
        shape=_shape(fields.fields("machine")) if fields.has("machine") else None,
    )
    registers.done()
    fields.done()
    banks = {tuple(event.digests) for events in record.registers.values() for event in events}
    if len(banks) > 1:
        raise DecodeError(WHAT, expected="digests of the same banks in all events", found="others")
    return record


def _shape(fields: Fields) -> Shape:
    shape = Shape(
        memory_mib=fields.integer("memory_mib", 1, MEMORY_LIMIT),
        processors=fields.integer("processors", 1, PROCESSOR_LIMIT),
    )
    fields.done()
    return shape


def _register(registers: Fields, register: int) -> tuple[Event, ...]:
    what = f"{WHAT}: register {register}"
    listed = registers.sequence(str(register), limit=_EVENTS)
    return tuple(_decoded(Fields(item, what), register) for item in listed)


def _decoded(fields: Fields, register: int) -> Event:
    digests = fields.fields("digests")
    event = Event(
        register=register,
        digests={
            bank: digests.hex(bank.value, bank.size)
            for bank in ALL_BANKS
            if bank in BANKS or digests.has(bank.value)
        },
        type=fields.text("type", pattern=_TYPE),
        description=fields.text("description", pattern=_LINE, limit=_TEXT),
    )
    digests.done()
    fields.done()
    return event
