# SPDX-License-Identifier: Apache-2.0
"""Properties of the logs: what is written is read again, a prefix is a prefix, replay is a fold of extend."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from mantlet_measure import event_data
from mantlet_measure.canonical_log import decode_canonical_log, encode_canonical_log
from mantlet_measure.cel import (
    NvRecord,
    SystemLog,
    decode_system_log,
    encode_system_log,
)
from mantlet_measure.device_path import device_path_text
from mantlet_measure.errors import DecodeError
from mantlet_measure.event_text import claimed_text
from mantlet_measure.event_types import EventType, type_name
from mantlet_measure.eventlog import FirmwareLog, decode_firmware_log, encode_firmware_log
from mantlet_measure.logged import LoggedEvent
from mantlet_measure.pcr import ALL_BANKS, Bank, extend, replay_events
from tests.unit.measure import recorded
from tests.unit.measure.samples import sha1_log

KINDS = st.sampled_from(sorted(EventType)).filter(lambda kind: kind is not EventType.EV_NO_ACTION)
NUMBERS = st.integers(0x20, 0x7FFFFFFF) | KINDS
BANK_SETS = st.sets(st.sampled_from(ALL_BANKS), min_size=1).map(
    lambda chosen: tuple(bank for bank in ALL_BANKS if bank in chosen)
)
CONTENTS = st.binary(max_size=80) | st.text(max_size=20).map(lambda text: text.encode("utf-16-le", "replace"))
WORDS = st.text(st.characters(exclude_categories=("C", "Z")), max_size=40)


def _digests(banks: tuple[Bank, ...]) -> st.SearchStrategy[dict[Bank, bytes]]:
    """Digests of a small word, or zeros: hashes hold no surprises, and drawing their bytes takes long."""
    return st.integers(0, 15).map(
        lambda word: {bank: bank.digest(bytes([word])) if word else bytes(bank.size) for bank in banks}
    )


@st.composite
def firmware_logs(draw: st.DrawFn) -> FirmwareLog:
    """A log as its own encoder writes it."""
    banks, locality = draw(BANK_SETS), draw(st.sampled_from((0, 3, 4)))
    first = 2 if locality else 1
    kinds = draw(st.lists(NUMBERS, max_size=5))
    events = []
    for number, kind in enumerate(kinds, start=first):
        data = draw(CONTENTS)
        events.append(
            LoggedEvent(
                number=number,
                register=draw(st.integers(0, 23)),
                digests=draw(_digests(banks)),
                claimed_type=type_name(kind),
                claimed_text=claimed_text(kind, data),
                claimed_data=data,
            )
        )
    log = FirmwareLog(events=tuple(events), banks=banks, startup_locality=locality, truncated=False, whole=0)
    return replace(log, whole=len(encode(log)))


def encode(log: FirmwareLog) -> bytes:
    return encode_firmware_log(log.events, banks=log.banks, startup_locality=log.startup_locality)


@st.composite
def system_logs(draw: st.DrawFn) -> SystemLog:
    """A log as systemd could write it."""
    records: list[LoggedEvent | NvRecord] = []
    for number in range(draw(st.integers(0, 6))):
        word = draw(WORDS)
        digests = draw(_digests(draw(BANK_SETS)))
        kind = draw(st.sampled_from(("", "phase", "os-separator")))
        claim = {"claimed_type": kind, "claimed_text": word}
        if draw(st.booleans()):
            register = draw(st.integers(0, 23))
            records.append(
                LoggedEvent(
                    number=number, register=register, digests=digests, claimed_data=word.encode(), **claim
                )
            )
        else:
            index = draw(st.integers(0, 0xFFFFFFFF))
            records.append(
                NvRecord(
                    number=number,
                    index=index,
                    name=draw(WORDS),
                    digests=digests,
                    claimed_data=word.encode(),
                    **claim,
                )
            )
    return SystemLog(
        events=tuple(record for record in records if isinstance(record, LoggedEvent)),
        indices=tuple(record for record in records if isinstance(record, NvRecord)),
        truncated=False,
    )


@given(log=firmware_logs())
def test_firmware_log_survives_a_round_trip(log: FirmwareLog) -> None:
    # The rest may read as padding: register 0, type 0 and a digest of zeros are all zeros.
    decoded = decode_firmware_log(encode(log) + b"\xff")
    assert decoded == log
    assert encode(decoded) == encode(log)


@given(log=firmware_logs(), data=st.data())
def test_log_that_is_cut_anywhere_is_a_prefix_and_says_so(log: FirmwareLog, data: st.DataObject) -> None:
    whole = encode(log)
    header = len(encode(replace(log, events=(), startup_locality=0)))
    cut = data.draw(st.integers(header, len(whole)))
    decoded = decode_firmware_log(whole[:cut])
    assert decoded.events == log.events[: len(decoded.events)]
    assert decoded.whole <= cut
    rest = whole[decoded.whole : cut]
    # What is left over is no record: it is padding, or the log says that it is cut.
    assert decoded.truncated == bool(rest.strip(b"\0") and rest.strip(b"\xff"))


@given(
    events=st.lists(
        st.tuples(st.integers(0, 23), KINDS.map(int), st.binary(min_size=1, max_size=40)), min_size=1
    )
)
def test_sha1_log_yields_what_was_written(events: list[tuple[int, int, bytes]]) -> None:
    decoded = decode_firmware_log(sha1_log(tuple(events)))
    told = [(event.register, event.claimed_type, event.claimed_data) for event in decoded.events]
    assert told == [(register, type_name(kind), content) for register, kind, content in events]
    assert all(event.proven_data(Bank.SHA1) == event.claimed_data for event in decoded.events)


@given(log=firmware_logs(), locality=st.integers(0, 4))
def test_replay_is_the_fold_of_extend_over_each_register(log: FirmwareLog, locality: int) -> None:
    for bank in log.banks:
        values = {register: bytes(bank.size) for register in range(16)}
        values[0] = bytes(bank.size - 1) + bytes([locality])
        for event in log.events:
            before = values.get(event.register, bytes(bank.size))
            values[event.register] = extend(bank, before, event.digests[bank])
        assert replay_events(bank, log.events, locality=locality) == values


@given(log=system_logs())
def test_system_log_survives_a_round_trip(log: SystemLog) -> None:
    assert decode_system_log(encode_system_log(log)) == log


@given(log=system_logs())
def test_system_log_survives_a_round_trip_through_an_array(log: SystemLog) -> None:
    records = sorted((*log.events, *log.indices), key=lambda record: record.number)
    assert decode_canonical_log(encode_canonical_log(records)) == log


@given(log=system_logs(), data=st.data())
def test_system_log_that_is_cut_anywhere_is_a_prefix_and_says_so(log: SystemLog, data: st.DataObject) -> None:
    whole = encode_system_log(log)
    cut = data.draw(st.integers(0, len(whole)))
    decoded = decode_system_log(whole[:cut])
    assert decoded.events == log.events[: len(decoded.events)]
    assert decoded.indices == log.indices[: len(decoded.indices)]
    assert decoded.truncated == (cut > 0 and whole[cut - 1 : cut] != b"\n")


@given(kind=NUMBERS, data=CONTENTS)
def test_any_event_data_has_words_that_a_terminal_can_show(kind: int, data: bytes) -> None:
    text = claimed_text(kind, data)
    assert text.isprintable()
    assert len(text) <= 160


@given(data=st.binary(max_size=200))
def test_any_bytes_have_a_device_path(data: bytes) -> None:
    assert isinstance(device_path_text(data), str)


@given(data=st.binary(max_size=200))
def test_any_event_data_is_a_structure_or_none(data: bytes) -> None:
    for read in (event_data.variable, event_data.tagged, event_data.image_load, event_data.partition_table):
        read(data)


BOOT = recorded.boot()


@settings(max_examples=300)
@given(data=st.data())
def test_one_flipped_bit_in_a_real_log_is_refused_or_seen_or_no_digest_covers_it(data: st.DataObject) -> None:
    genuine = decode_firmware_log(BOOT.firmware_log)
    bit = data.draw(st.integers(0, 8 * genuine.whole - 1))
    flipped = bytearray(BOOT.firmware_log)
    flipped[bit // 8] ^= 1 << bit % 8
    try:
        decoded = decode_firmware_log(bytes(flipped)).complete()
    except DecodeError:
        return
    proven = [(event.register, event.digests) for event in decoded.events]
    if proven == [(event.register, event.digests) for event in genuine.events]:
        return  # Only what the log claims has changed.
    assert replay_events(Bank.SHA256, decoded.events) != replay_events(
        Bank.SHA256, genuine.events
    ) or replay_events(Bank.SHA384, decoded.events) != replay_events(Bank.SHA384, genuine.events)
