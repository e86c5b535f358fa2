# SPDX-License-Identifier: Apache-2.0
"""Tests of register 5 against a machine that measured it."""

import base64
import json
from pathlib import Path

import pytest

from mantlet.predict import partitions, pe, predict_boot
from mantlet.predict.boot import Basis, Loader, UserSpace
from mantlet_measure.eventlog import decode_firmware_log
from mantlet_measure.pcr import ALL_BANKS, BANKS, Bank, Register, replay
from tests.unit.predict import synthetic
from tests.unit.predict.boots import boot, described

REAL = json.loads((Path(__file__).parents[1] / "measure" / "data" / "qemu-ovmf.json").read_bytes())
LOADER = pe.decode(synthetic.uki({".text": b"loader"}), what="systemd-boot")


@pytest.mark.parametrize("bank", BANKS)
def test_register_5_of_a_real_boot_follows_from_its_partition_table(bank: Bank) -> None:
    log = decode_firmware_log(base64.b64decode(REAL["firmware_log"]))
    (table,) = [event.claimed_data for event in log.events if event.claimed_type == "EV_EFI_GPT_EVENT"]
    predicted = predict_boot(
        boot(secure=False, gpt_event=table, user_space=UserSpace(os_separator=True, phases=()))
    )
    value = replay(bank, (event.digests[bank] for event in predicted[Register.BOOT_LOADER_CONFIG].events))
    assert value.hex() == REAL["pcrs"][bank.value]["5"]


def test_register_5_without_the_disk_is_unpredictable_and_says_why() -> None:
    predicted = partitions.events(boot())
    assert predicted.basis is Basis.UNPREDICTABLE
    assert "no disk" in predicted.reason
    assert len(predicted.events) == 3


@pytest.mark.parametrize(
    ("version", "configuration", "measured"),
    [(255, b"timeout 3\n", True), (254, b"", False), (262, None, False)],
)
def test_loader_conf_is_measured_as_it_is_since_255(
    version: int, configuration: bytes | None, measured: bool
) -> None:
    loader = Loader(image=LOADER, version=version, configuration=configuration)
    predicted = partitions.events(boot(gpt_event=b"table", loader=loader), ALL_BANKS)
    assert ("loader.conf: configuration of systemd-boot" in described(predicted)) is measured
    assert len(predicted.events) == 4 + measured
    if measured:
        assert configuration is not None
        assert predicted.events[2].digests == {bank: bank.digest(configuration) for bank in ALL_BANKS}
