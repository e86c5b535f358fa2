# SPDX-License-Identifier: Apache-2.0
"""Tests of the agent's log."""

import pytest

from mantlet_measure.cel import agent_record, decode_agent_log, encode_agent_log
from mantlet_measure.errors import DecodeError
from mantlet_measure.pcr import Bank


def test_agent_log_survives_a_round_trip() -> None:
    records = (agent_record(0, "deployment", "mantlet:deployment:00"), agent_record(1, "cap", "mantlet:cap"))
    assert decode_agent_log(encode_agent_log(records)) == records
    assert records[1].extended().proven_data(Bank.SHA256) == b"mantlet:cap"


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("recnum", 1),
        ("recnum", False),
        ("pcr", 14),
        ("content_type", "systemd"),
        ("digests", []),
        ("content", {"event": "cap", "word": "mantlet:cap", "more": 1}),
        ("content", {"event": "cap", "word": "two words"}),
        ("surprise", 1),
    ],
)
def test_agent_record_out_of_shape_is_refused(member: str, value: object) -> None:
    (record,) = encode_agent_log((agent_record(0, "cap", "mantlet:cap"),))
    assert isinstance(record, dict)
    with pytest.raises(DecodeError, match="agent log"):
        decode_agent_log([record | {member: value}])


@pytest.mark.parametrize("bank", [Bank.SHA1, Bank.SHA512])
def test_agent_record_with_another_bank_in_place_of_one_is_refused(bank: Bank) -> None:
    (record,) = encode_agent_log((agent_record(0, "cap", "mantlet:cap"),))
    assert isinstance(record, dict)
    other = {"hashAlg": bank.value, "digest": bank.digest(b"mantlet:cap").hex()}
    with pytest.raises(DecodeError, match="one of each bank"):
        decode_agent_log([record | {"digests": [record["digests"][0], other]}])


def test_agent_log_that_is_no_array_is_refused() -> None:
    with pytest.raises(DecodeError, match="an array"):
        decode_agent_log({})
