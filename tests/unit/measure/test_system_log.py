# SPDX-License-Identifier: Apache-2.0
"""Tests of systemd's log: the sequence of records that it keeps."""

import pytest

from mantlet_measure.cel import (
    NvRecord,
    SystemLog,
    decode_system_log,
    encode_system_log,
)
from mantlet_measure.errors import DecodeError
from mantlet_measure.logged import LoggedEvent
from mantlet_measure.pcr import BANKS, Bank
from tests.unit.measure.samples import NV_RECORD, PHASES, system_log


def logged(number: int) -> LoggedEvent:
    """The phase of this number, as the log tells of it."""
    event = PHASES[number]
    return LoggedEvent(
        number=number,
        register=event.register,
        digests=event.digests,
        claimed_type=event.type,
        claimed_text=event.description,
        claimed_data=event.description.encode(),
    )


def test_system_log_over_its_limit_is_refused() -> None:
    with pytest.raises(DecodeError, match="at most"):
        decode_system_log(bytes((1 << 20) + 1))


def test_system_log_of_too_many_records_is_refused() -> None:
    with pytest.raises(DecodeError, match="at most 4096 records"):
        decode_system_log(b"\x1e\n" * 4097)


def test_system_log_yields_its_phases() -> None:
    log = decode_system_log(system_log(PHASES))
    assert log == SystemLog(events=(logged(0), logged(1)), indices=(), truncated=False)
    assert log.events[0].proven_data(Bank.SHA384) == b"enter-initrd"
    assert log.complete(BANKS) is log


def test_word_that_was_not_what_was_measured_is_not_proven() -> None:
    log = decode_system_log(system_log(PHASES).replace(b'"string":"enter-initrd"', b'"string":"sysinit"'))
    assert log.events[0].claimed_text == "sysinit"
    assert log.events[0].proven_data(Bank.SHA256) is None


def test_control_characters_in_a_text_do_not_reach_a_terminal() -> None:
    log = decode_system_log(system_log(PHASES[:1]).replace(b'"string":"enter', b'"string":"\\u001b[2J'))
    assert log.events[0].claimed_text == "\N{REPLACEMENT CHARACTER}[2J-initrd"
    assert log.events[0].claimed_data == b"\x1b[2J-initrd"


def test_empty_system_log_has_no_events() -> None:
    assert decode_system_log(b"") == SystemLog(events=(), indices=(), truncated=False)


def test_record_of_an_nv_index_extends_no_register_and_is_kept() -> None:
    log = decode_system_log(system_log(PHASES[:1]) + NV_RECORD)
    assert log.events == (logged(0),)
    assert log.indices == (
        NvRecord(
            number=1,
            index=0x1D10200,
            name="hardware",
            digests={Bank.SHA256: b"\1" * 32},
            claimed_type="nvpcr-init",
            claimed_text="product-id:x",
            claimed_data=b"product-id:x",
        ),
    )


def test_record_of_an_nv_index_without_a_name_is_kept() -> None:
    log = decode_system_log(system_log(PHASES[:1]).replace(b'"pcr":11', b'"nv_index":1'))
    assert [(record.index, record.name) for record in log.indices] == [(1, "")]
    assert log.events == ()


def test_digests_of_all_banks_are_kept_and_unknown_algorithms_are_left_out() -> None:
    log = system_log(PHASES).replace(
        b'"digests":[',
        b'"digests":[{"hashAlg":"sha1","digest":"'
        + b"00" * 20
        + b'"},{"hashAlg":"sm3-256","digest":"'
        + b"00" * 32
        + b'"},',
    )
    assert set(decode_system_log(log).events[0].digests) == {Bank.SHA1, Bank.SHA256, Bank.SHA384}


def test_system_log_without_one_of_the_quoted_banks_proves_nothing() -> None:
    log = decode_system_log(system_log(PHASES).replace(b"sha384", b"sm3_384"))
    with pytest.raises(
        DecodeError, match="record 0: expected digests of sha256 and sha384, found none of sha384"
    ):
        log.complete(BANKS)


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_system_log_that_is_cut_yields_what_is_whole_and_proves_nothing(cut: int) -> None:
    log = decode_system_log(system_log(PHASES)[:-cut])
    assert log == SystemLog(events=(logged(0),), indices=(), truncated=True)
    with pytest.raises(DecodeError, match="a newline at its end"):
        log.complete(BANKS)


@pytest.mark.parametrize(
    "log",
    [
        system_log(PHASES)[1:],
        system_log(PHASES) + b"\x1e\n",
        system_log(PHASES[:1])[:-1] + system_log(PHASES[1:]),
        b"x" + system_log(PHASES),
        system_log(PHASES).replace(b'"pcr":11', b'"pcr":24'),
        system_log(PHASES).replace(b'"pcr":11,', b""),
        system_log(PHASES).replace(b'"systemd"', b'"other"'),
        system_log(PHASES).replace(b'"systemd"', b'"pcclient_std"'),
        b"[]",
        system_log(PHASES).replace(b'"timestamp":4711', b'"timestamp":4711,"extra":1'),
        system_log(PHASES).replace(b'"timestamp":4711', b'"timestamp":4711,"nvIndexName":"x"'),
        system_log(PHASES).replace(b"sha384", b"sha512"),
        system_log(PHASES).replace(b"sha384", b"sha256"),
        system_log(PHASES).replace(b'"eventType":"phase"', b'"eventType":"EV_NO_ACTION"'),
    ],
)
def test_system_log_that_is_changed_in_shape_is_refused(log: bytes) -> None:
    with pytest.raises(DecodeError, match="system log"):
        decode_system_log(log)


def test_what_is_written_is_read_again_the_same() -> None:
    log = decode_system_log(system_log(PHASES[:1]) + NV_RECORD + system_log(PHASES[1:]))
    assert decode_system_log(encode_system_log(log)) == log
