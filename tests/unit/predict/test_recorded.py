# SPDX-License-Identifier: Apache-2.0
"""Tests of firmware records on the logs of a real boot, and of records that contradict them."""

import base64
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from mantlet.predict import predict_boot, recorded
from mantlet.predict.boot import Basis, FirmwareRecord, Shape, UserSpace
from mantlet.predict.recorded import Source, UnrecordableError, record
from mantlet_measure.cel import decode_system_log
from mantlet_measure.errors import DecodeError
from mantlet_measure.eventlog import FirmwareLog, decode_firmware_log
from mantlet_measure.pcr import BANKS, Bank, replay
from tests.unit.predict.boots import boot
from tests.unit.predict.test_partitions import REAL

FIRMWARE = b"\x07" * 32
SCHEMA = Path(__file__).parents[3] / "policies" / "schema" / "firmware.json"
LOG = base64.b64decode(REAL["firmware_log"])
QUOTED = {
    bank: {int(number): bytes.fromhex(value) for number, value in REAL["pcrs"][bank.value].items()}
    for bank in BANKS
}
USER_SPACE = UserSpace(os_separator=True, phases=())


def _source(**changes: Any) -> Source:
    fields: dict[str, Any] = {
        "firmware": decode_firmware_log(LOG),
        "system": decode_system_log(base64.b64decode(REAL["system_log"])).events,
        "quoted": QUOTED,
        "description": "the boot in tests/unit/measure/data",
    }
    return Source(**(fields | changes))


@pytest.fixture(scope="module")
def made() -> FirmwareRecord:
    return record(_source(), firmware_sha256=FIRMWARE)


def test_record_survives_a_round_trip(made: FirmwareRecord) -> None:
    assert recorded.decode(recorded.encode(made)) == made
    assert sorted(made.registers) == [0, 1, 2, 3, 6]
    jsonschema.validate(json.loads(recorded.encode(made)), json.loads(SCHEMA.read_bytes()))
    assert len(made.registers[0]) >= 4


def test_record_of_a_machine_whose_shape_was_told_keeps_it() -> None:
    shape = Shape(memory_mib=2048, processors=2)
    told = record(_source(), firmware_sha256=FIRMWARE, shape=shape)
    assert recorded.decode(recorded.encode(told)).shape == shape
    value = json.loads(recorded.encode(told))
    assert value["machine"] == {"memory_mib": 2048, "processors": 2}
    jsonschema.validate(value, json.loads(SCHEMA.read_bytes()))


@pytest.mark.parametrize("bank", BANKS)
def test_recorded_registers_with_the_separator_of_user_space_are_the_quoted_ones(
    made: FirmwareRecord, bank: Bank
) -> None:
    predicted = predict_boot(boot(secure=False, firmware=made, user_space=USER_SPACE))
    for register in made.registers:
        assert predicted[register].basis is Basis.RECORDED
        assert predicted[register].reason == made.source
        value = replay(bank, (event.digests[bank] for event in predicted[register].events))
        assert value == QUOTED[bank][register]


def test_without_a_record_the_firmwares_registers_are_unpredictable_and_say_what_mends_it() -> None:
    predicted = predict_boot(boot(secure=False))
    for register in (0, 1, 2, 3, 6):
        assert predicted[register].basis is Basis.UNPREDICTABLE
        assert "firmware record" in predicted[register].reason


def test_record_without_a_bank_that_is_asked_for_is_refused(made: FirmwareRecord) -> None:
    with pytest.raises(DecodeError, match="digests of sha256, sha512"):
        predict_boot(boot(secure=False, firmware=made), banks=(Bank.SHA256, Bank.SHA512))


def test_log_of_another_boot_than_the_quoted_values_is_refused() -> None:
    quoted = {bank: {**QUOTED[bank], 1: bytes(bank.size)} for bank in BANKS}
    with pytest.raises(UnrecordableError, match=r"register 1, sha256: expected 0000.*as quoted"):
        record(_source(quoted=quoted), firmware_sha256=FIRMWARE)
    with pytest.raises(UnrecordableError, match="register 0, sha256"):
        record(_source(system=()), firmware_sha256=FIRMWARE)


def test_cut_log_and_log_of_one_bank_are_refused() -> None:
    with pytest.raises(DecodeError, match="a whole log"):
        record(_source(firmware=decode_firmware_log(LOG[:-100])), firmware_sha256=FIRMWARE)
    log = decode_firmware_log(LOG)
    single: FirmwareLog = dataclasses.replace(log, banks=(Bank.SHA256,))
    with pytest.raises(DecodeError, match="bank sha384"):
        record(_source(firmware=single), firmware_sha256=FIRMWARE)


def test_machine_that_started_its_tpm_at_another_locality_is_refused() -> None:
    moved = dataclasses.replace(decode_firmware_log(LOG), startup_locality=3)
    with pytest.raises(UnrecordableError, match="locality 0, found 3"):
        record(_source(firmware=moved), firmware_sha256=FIRMWARE)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda value: value.update(format="mantlet-firmware/v2"), "mantlet-firmware/v1"),
        (lambda value: value.update(firmware_sha256="00"), "32 bytes"),
        (lambda value: value.update(extra=1), "no other member"),
        (lambda value: value.update(machine={"memory_mib": 0, "processors": 1}), "memory_mib"),
        (lambda value: value.update(machine={"memory_mib": 1}), "processors"),
        (lambda value: value.update(machine={"memory_mib": 1, "processors": 1, "x": 1}), "no other member"),
        (lambda value: value["registers"].pop("6"), "member"),
        (lambda value: value["registers"].update({"4": []}), "no other member"),
        (lambda value: value["registers"]["0"][0].pop("type"), "member"),
        (lambda value: value["registers"]["0"][0]["digests"].pop("sha384"), "member"),
        (lambda value: value["registers"]["0"][0]["digests"].update(sha1="00" * 20), "of the same banks"),
        (lambda value: value["registers"]["0"][0]["digests"].update(md5="00"), "no other member"),
        (lambda value: value["registers"].update({"0": [{}] * 257}), "at most 256"),
    ],
)
def test_record_out_of_shape_is_refused(
    made: FirmwareRecord, change: Callable[[Any], object], expected: str
) -> None:
    value = json.loads(recorded.encode(made))
    change(value)
    with pytest.raises(DecodeError, match=expected):
        recorded.decode(json.dumps(value).encode())
