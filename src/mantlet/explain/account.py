# SPDX-License-Identifier: Apache-2.0
"""What one side says of the registers: their values, and the events behind them where it tells them.

Owns the type that expected and observed share, and how it is made from a manifest, from logs, or from values
alone. Data is attached to an event only if it hashes to the event's digest; all else a log says is a claim.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mantlet.explain.subject import Subject, classify
from mantlet.predict.boot import Basis, RegisterPrediction
from mantlet.release.reference_values import ImageIdentity, Manifest
from mantlet_measure.logged import LoggedEvent
from mantlet_measure.pcr import BANKS, Bank, Event, Register, extend, replay, replay_events, zero

Values = Mapping[Bank, Mapping[int, bytes]]
_HASHED = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One event of one register, as one side tells it.

    data: the measured bytes, where they are known and hash to the digests. place: where it was read.
    """

    digests: Mapping[Bank, bytes]
    subject: Subject
    type: str
    text: str
    place: str = ""
    data: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterAccount:
    """Values of one register by bank, and its events; `events` is None where nothing tells of them."""

    values: Mapping[Bank, bytes]
    events: tuple[Entry, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One side of a comparison.

    image, recorded (the registers whose values were taken from a boot): known for manifests only.
    """

    name: str
    registers: Mapping[int, RegisterAccount]
    recorded: tuple[int, ...] = ()
    image: ImageIdentity | None = None
    notes: tuple[str, ...] = ()

    @property
    def banks(self) -> tuple[Bank, ...]:
        """The banks that some register has a value in, in the order of `Bank`."""
        held = {bank for register in self.registers.values() for bank in register.values}
        return tuple(bank for bank in Bank if bank in held)


def of_manifest(manifest: Manifest, platform: str, *, name: str) -> Account:
    """Return the account of one platform of a manifest. KeyError when it does not have it."""
    banks = manifest.platforms[platform].banks
    registers: dict[int, RegisterAccount] = {}
    for register in sorted({number for held in banks.values() for number in held}):
        by_bank = {bank: held[register] for bank, held in banks.items() if register in held}
        told = [
            # Decoding has made sure that the banks tell the same events.
            {bank: expected.events[index] for bank, expected in by_bank.items()}
            for index in range(len(next(iter(by_bank.values())).events))
        ]
        registers[register] = RegisterAccount(
            values={bank: expected.value for bank, expected in by_bank.items()},
            events=tuple(
                _entry(
                    register,
                    {bank: event.digest for bank, event in events.items()},
                    next(iter(events.values())).type,
                    next(iter(events.values())).description,
                )
                for events in told
            ),
        )
    unpredictable = manifest.platforms[platform].unpredictable
    account = Account(
        name=name,
        registers=registers,
        image=manifest.image,
        recorded=manifest.platforms[platform].recorded,
        notes=tuple(f"register {number} is not predicted: {why}" for number, why in unpredictable.items()),
    )
    return with_known(account, _cmdline_bytes(manifest.image.cmdline))


def _cmdline_bytes(cmdline: str) -> tuple[bytes, ...]:
    """Return what a command line is measured as: a section, with or without its end, or load options."""
    text = cmdline.encode("ascii", "replace")
    return text, text + b"\0", text + b"\n", f"{cmdline}\0".encode("utf-16-le")


def of_predictions(
    predictions: Mapping[int, RegisterPrediction], *, name: str, banks: Sequence[Bank] = BANKS
) -> Account:
    """Return the account of a predicted boot; what nothing settles is left out, with a note that says why."""
    registers: dict[int, RegisterAccount] = {}
    notes: list[str] = []
    for number, prediction in sorted(predictions.items()):
        if prediction.basis is Basis.UNPREDICTABLE:
            notes.append(f"register {number} is not predicted: {prediction.reason}")
            continue
        entries = tuple(
            _entry(number, event.digests, event.type, event.description) for event in prediction.events
        )
        values = {bank: fold(bank, entries) for bank in banks}
        registers[number] = RegisterAccount(values=values, events=entries)
    recorded = tuple(
        number for number, prediction in predictions.items() if prediction.basis is Basis.RECORDED
    )
    return Account(name=name, registers=registers, recorded=recorded, notes=tuple(notes))


def of_events(
    events: Sequence[LoggedEvent],
    *,
    name: str,
    banks: Sequence[Bank],
    locality: int = 0,
    values: Values | None = None,
) -> Account:
    """Return the account of logs, in their order.

    values: the registers as read or quoted. Where the events do not replay to them, the events are left out
    and a note says so; without values, what the log replays to is taken for them.
    """
    told: dict[int, list[Entry]] = {int(register): [] for register in Register}
    for event in events:
        told.setdefault(int(event.register), []).append(_told(event, banks))
    replayed = {bank: replay_events(bank, events, locality=locality) for bank in banks}
    held = replayed if values is None else values
    registers: dict[int, RegisterAccount] = {}
    notes: list[str] = []
    for register in sorted({number for bank in held.values() for number in bank}):
        own = {bank: by_number[register] for bank, by_number in held.items() if register in by_number}
        # A register that no log tells of, and that is not as it was at start, has a history nobody wrote.
        agree = all(
            replayed[bank].get(register, zero(bank)) == value for bank, value in own.items() if bank in banks
        )
        if not agree:
            notes.append(f"register {register}: the log does not replay to its value")
        registers[register] = RegisterAccount(
            values=own, events=tuple(told.get(register, ())) if agree else None
        )
    return Account(name=name, registers=registers, notes=tuple(notes))


def of_values(values: Values, *, name: str) -> Account:
    """Return the account of somebody who has values and no log."""
    numbers = sorted({number for bank in values.values() for number in bank})
    return Account(
        name=name,
        registers={
            number: RegisterAccount(
                values={bank: held[number] for bank, held in values.items() if number in held}, events=None
            )
            for number in numbers
        },
    )


def with_words(account: Account, words: Iterable[Event]) -> Account:
    """Return the account after the agent's words are extended into register 15."""
    number = int(Register.SYSTEM_IDENTITY)
    found = account.registers.get(number)
    if found is None:
        return account
    said = tuple(words)
    values = {
        bank: replay(bank, (word.digests[bank] for word in said), start=value)
        for bank, value in found.values.items()
        if all(bank in word.digests for word in said)
    }
    entries = (
        *(found.events or ()),
        *(_entry(number, word.digests, word.type, word.description) for word in said),
    )
    return replace(
        account,
        registers={**account.registers, number: RegisterAccount(values=values, events=entries)},
    )


def with_known(account: Account, known: Iterable[bytes]) -> Account:
    """Attach each of `known` to the events that it hashes to."""
    bank = _proving(account.banks)
    if bank is None:
        return account
    by_digest = {bank.digest(data): data for data in known if len(data) <= _HASHED}
    return replace(
        account,
        registers={
            number: replace(
                register,
                events=None
                if register.events is None
                else tuple(
                    replace(entry, data=by_digest[entry.digests[bank]])
                    if entry.data is None and entry.digests.get(bank) in by_digest
                    else entry
                    for entry in register.events
                ),
            )
            for number, register in account.registers.items()
        },
    )


def texts(accounts: Iterable[Account]) -> tuple[bytes, ...]:
    """Return all measured bytes that these accounts know."""
    events = (register.events or () for account in accounts for register in account.registers.values())
    return tuple({entry.data for entries in events for entry in entries if entry.data is not None})


def fold(bank: Bank, entries: Iterable[Entry]) -> bytes:
    """Return the value of a register that these events extend from zero."""
    value = zero(bank)
    for entry in entries:
        value = extend(bank, value, entry.digests[bank])
    return value


def _told(event: LoggedEvent, banks: Sequence[Bank]) -> Entry:
    place = f"event {event.number}"
    entry = _entry(event.register, event.digests, event.claimed_type, event.claimed_text, place=place)
    bank = _proving(banks)
    return replace(entry, data=None if bank is None else event.proven_data(bank))


def _proving(banks: Sequence[Bank]) -> Bank | None:
    """Return the bank whose digests are to prove data: SHA-1 is the last choice."""
    return next((bank for bank in (*BANKS, Bank.SHA512, Bank.SHA1) if bank in banks), None)


def _entry(register: int, digests: Mapping[Bank, bytes], kind: str, text: str, *, place: str = "") -> Entry:
    return Entry(
        digests=digests,
        subject=classify(register, kind, text, digests),
        type=kind,
        text=text,
        place=place,
    )
