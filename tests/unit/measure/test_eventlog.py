# SPDX-License-Identifier: Apache-2.0
"""Tests of the firmware's log, in both its forms."""

from collections.abc import Callable

import pytest

from mantlet_measure.errors import DecodeError
from mantlet_measure.event_types import EventType, type_name, type_number
from mantlet_measure.eventlog import decode_firmware_log, encode_firmware_log
from mantlet_measure.pcr import BANKS, Bank, replay_events
from tests.unit.measure.samples import EVENTS, firmware_log, no_action, sha1_log

# The end of an event behind its register: an action, three digests, no data.
_TAIL = firmware_log(((4, 0x80000007, b""),))[-118:]
_LOCALITY = b"StartupLocality\0\3"


def _le(value: int) -> bytes:
    return value.to_bytes(4, "little")


def test_firmware_log_yields_its_events_in_order() -> None:
    log = decode_firmware_log(firmware_log(EVENTS))
    assert [
        (event.number, event.register, event.claimed_type, event.claimed_text) for event in log.events
    ] == [
        (1, 0, "EV_S_CRTM_VERSION", "2026.08"),
        (2, 4, "EV_EFI_ACTION", "Calling EFI Application from Boot Option"),
        (3, 4, "EV_SEPARATOR", "00000000"),
        (4, 11, "EV_IPL", ".linux"),
        (5, 9, "EV_EVENT_TAG", "tag 0x8f3b22ec Linux initrd"),
    ]
    assert [event.claimed_data for event in log.events] == [content for _, _, content in EVENTS]
    assert (log.truncated, log.whole) == (False, len(firmware_log(EVENTS)))


def test_all_banks_of_the_header_are_there_and_each_replays() -> None:
    log = decode_firmware_log(firmware_log(EVENTS))
    assert log.banks == (Bank.SHA1, Bank.SHA256, Bank.SHA384)
    for bank in BANKS:
        values = replay_events(bank, log.events)
        assert values[11] == bank.digest(bytes(bank.size) + bank.digest(EVENTS[3][2]))


def test_sha1_log_yields_its_events_in_order() -> None:
    log = decode_firmware_log(sha1_log(EVENTS))
    assert (log.banks, log.truncated) == ((Bank.SHA1,), False)
    assert [(event.number, event.register, event.claimed_text) for event in log.events][:2] == [
        (0, 0, "2026.08"),
        (1, 4, "Calling EFI Application from Boot Option"),
    ]
    assert log.events[1].proven_data(Bank.SHA1) == EVENTS[1][2]


@pytest.mark.parametrize("version", [b"Spec ID Event00\0", b"Spec ID Event02\0"])
def test_sha1_log_that_starts_with_a_specification_id_numbers_it_and_leaves_it_out(version: bytes) -> None:
    log = decode_firmware_log(sha1_log(((0, 3, version + bytes(12)), *EVENTS)))
    assert [event.number for event in log.events] == [1, 2, 3, 4, 5]
    assert log.banks == (Bank.SHA1,)


def test_sha1_log_states_the_locality_of_startup_too() -> None:
    log = decode_firmware_log(sha1_log(((0, 3, _LOCALITY), *EVENTS)))
    assert log.startup_locality == 3


def test_sha1_log_proves_nothing_in_the_banks_that_are_quoted() -> None:
    with pytest.raises(DecodeError, match="expected digests of bank sha256, found those of sha1"):
        decode_firmware_log(sha1_log(EVENTS)).complete(BANKS)


def test_event_without_action_extends_nothing() -> None:
    log = firmware_log(EVENTS) + no_action(b"anything")
    assert decode_firmware_log(log).events == decode_firmware_log(firmware_log(EVENTS)).events


def test_event_without_action_may_leave_its_digests_out_and_name_no_register() -> None:
    bare = _le(0xFFFFFFFF) + _le(3) + _le(0) + _le(1) + b"x"
    log = firmware_log(EVENTS)
    assert decode_firmware_log(log + bare).events == decode_firmware_log(log).events


@pytest.mark.parametrize("padding", [b"\xff", b"\0"])
@pytest.mark.parametrize("log", [firmware_log(EVENTS), sha1_log(EVENTS)])
def test_padding_behind_the_log_is_no_event(log: bytes, padding: bytes) -> None:
    decoded = decode_firmware_log(log + padding * 100)
    assert decoded == decode_firmware_log(log)
    assert decoded.whole == len(log)


@pytest.mark.parametrize("log", [bytes(100), b"\xff" * 100, b"", bytes(31)])
def test_padding_without_a_log_is_refused(log: bytes) -> None:
    with pytest.raises(DecodeError, match="firmware log"):
        decode_firmware_log(log)


def test_startup_locality_is_read_from_the_log() -> None:
    assert decode_firmware_log(firmware_log(EVENTS, locality=3)).startup_locality == 3
    assert decode_firmware_log(firmware_log(EVENTS)).startup_locality == 0
    assert decode_firmware_log(firmware_log(()) + no_action(b"StartupLocality\0")).startup_locality == 0


@pytest.mark.parametrize("cut", [1, 5, 40, 100])
@pytest.mark.parametrize("log", [firmware_log(EVENTS), sha1_log(EVENTS)])
def test_log_that_is_cut_yields_what_is_whole_and_proves_nothing(log: bytes, cut: int) -> None:
    whole = decode_firmware_log(log)
    decoded = decode_firmware_log(log[:-cut])
    assert decoded.truncated
    assert decoded.events == whole.events[: len(decoded.events)]
    assert len(whole.events) > len(decoded.events) >= 2
    with pytest.raises(DecodeError, match=f"at byte {decoded.whole}: expected a whole log") as caught:
        decoded.complete(decoded.banks)
    assert "read the log again" in caught.value.hint


def test_log_that_ends_inside_its_specification_id_is_refused() -> None:
    with pytest.raises(DecodeError, match="at byte 32: expected 41 more bytes, found 28"):
        decode_firmware_log(firmware_log(())[:60])


def test_log_without_one_of_the_quoted_banks_proves_nothing() -> None:
    log = firmware_log(EVENTS).replace(b"\x0c\x00\x30\x00", b"\x12\x00\x30\x00", 1)
    log = log.replace(b"\x0c\x00", b"\x12\x00")
    decoded = decode_firmware_log(log)
    assert decoded.banks == (Bank.SHA1, Bank.SHA256)
    assert all(set(event.digests) == {Bank.SHA1, Bank.SHA256} for event in decoded.events)
    with pytest.raises(DecodeError, match="expected digests of bank sha384, found those of sha1, sha256"):
        decoded.complete(BANKS)


def test_event_that_lists_one_digest_twice_is_refused() -> None:
    log = firmware_log(EVENTS)
    start = log.index(b"\x0c\x00", log.index(b"\x0b\x00", 90) + 34)
    with pytest.raises(DecodeError, match=f"at byte {start}: expected each algorithm"):
        decode_firmware_log(log[:start] + b"\x04\x00" + log[start + 2 :])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            lambda log: log.replace(b"\x03\x00\x00\x00\x04\x00\x14", b"\x11\x00\x00\x00\x04\x00\x14", 1),
            "at byte 24: expected 1 to 16 algorithms, found 17",
        ),
        (lambda log: log.replace(b"\x0b\x00\x20\x00", b"\x04\x00\x20\x00", 1), "each algorithm once"),
        (lambda log: log.replace(b"\x0b\x00\x20\x00", b"\x0b\x00\x30\x00", 1), "0x000b of 48 bytes"),
        (lambda log: log.replace(b"\x0c\x00\x30\x00", b"\x13\x00\x81\x00", 1), "0x0013 of 129 bytes"),
        (lambda log: b"\1" + log[1:], "register 0, digest zero, found 41 bytes, register 1"),
        (lambda log: log[:10] + b"\1" + log[11:], "digest 0000"),
        (lambda log: log[:28] + _le(513) + log[32:], "at most 512 bytes"),
        (lambda log: log + _le(24) + _TAIL, "a register below 24, found 24"),
        (lambda log: log + _le(4) + _TAIL.replace(b"\x03", b"\x02", 1), "3 digests, found 2"),
        (lambda log: log + _le(4) + _TAIL.replace(b"\x03", b"\x04", 1), "3 digests, found 4"),
        (lambda log: log + _le(4) + _TAIL[:-4] + _le((1 << 20) + 1), "event data of at most 1048576 bytes"),
        (lambda log: log + b"\x01" * (1 << 20), "1 to 1048576 bytes"),
        (lambda log: log + (_le(4) + _TAIL) * 4096, "at most 4096 records"),
    ],
)
def test_firmware_log_that_lies_about_itself_is_refused(change: Callable[[bytes], bytes], why: str) -> None:
    with pytest.raises(DecodeError, match=why):
        decode_firmware_log(change(firmware_log(EVENTS)))


def test_log_of_tiny_events_that_look_like_padding_is_decoded_in_linear_time() -> None:
    # Register 0, type 0, digests zero but for the last byte: no prefix tells the event from padding.
    tiny = bytes(8) + _le(1) + b"\x04\0" + bytes(19) + b"\1" + bytes(4)
    header = b"Spec ID Event03\0" + bytes(4) + b"\0\2\0\2" + _le(1) + b"\x04\0\x14\0" + b"\0"
    log = bytes(4) + _le(3) + bytes(20) + _le(len(header)) + header + tiny * 4000
    decoded = decode_firmware_log(log + b"\xff" * ((1 << 20) - len(log)))
    assert len(decoded.events) == 4000
    assert decoded.whole == len(log)


def test_what_is_written_is_read_again_the_same() -> None:
    log = decode_firmware_log(firmware_log(EVENTS, locality=3))
    written = encode_firmware_log(log.events, banks=log.banks, startup_locality=log.startup_locality)
    assert written == firmware_log(EVENTS, locality=3)
    assert decode_firmware_log(written) == log


def test_event_of_user_space_has_no_place_in_a_firmware_log() -> None:
    (event, *_) = decode_firmware_log(firmware_log(EVENTS)).events
    phase = type(event)(
        number=0, register=11, digests=event.digests, claimed_type="phase", claimed_text="", claimed_data=b""
    )
    with pytest.raises(ValueError, match="phase is no type of a firmware event"):
        encode_firmware_log((phase,))


def test_event_of_an_unknown_type_keeps_its_number() -> None:
    (event,) = decode_firmware_log(firmware_log(((1, 0x42, b"x"),))).events
    assert event.claimed_type == "0x00000042"
    assert type_number(event.claimed_type) == 0x42


@pytest.mark.parametrize("kind", EventType)
def test_each_event_type_has_one_name(kind: EventType) -> None:
    assert type_number(type_name(kind)) == kind


@pytest.mark.parametrize(
    "name", ["", "phase", "0x", "0x1ffffffff", "4294967296", "0xg", "-1", "1_0", "٣", "EV_"]
)
def test_what_is_no_event_type_has_no_number(name: str) -> None:
    assert type_number(name) is None


def test_event_type_in_decimal_has_its_number() -> None:
    assert type_number("66") == 0x42
