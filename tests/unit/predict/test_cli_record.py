# SPDX-License-Identifier: Apache-2.0
"""Tests of `mantlet record`: from an event log, from evidence, and from what is neither."""

import hashlib
import json
from pathlib import Path

import pytest

from mantlet.cli import main
from mantlet.predict import recorded
from mantlet_measure import evidence
from mantlet_measure.pcr import Bank, replay
from tests.authority import Authority
from tests.machine import Machine, fresh_nonce
from tests.unit.predict.test_recorded import LOG, QUOTED

FIRMWARE = b"the firmware of the test"


@pytest.fixture
def firmware(tmp_path: Path) -> Path:
    path = tmp_path / "OVMF_CODE.fd"
    path.write_bytes(FIRMWARE)
    return path


def _run(source: object, firmware: Path, output: Path, *words: str) -> int:
    return main(
        ["record", str(source), "--firmware", str(firmware), "--output", str(output), *words], environ={}
    )


def test_event_log_gives_a_record_under_the_digest_of_the_firmware(
    firmware: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, output = tmp_path / "binary_bios_measurements", tmp_path / "record.json"
    log.write_bytes(LOG)
    assert _run(log, firmware, output, "--json") == 0
    made = recorded.decode(output.read_bytes())
    assert json.loads(capsys.readouterr().out) == json.loads(output.read_bytes())
    assert made.firmware_sha256 == hashlib.sha256(FIRMWARE).digest()
    assert "no quoted values" in made.source
    separated = [
        *(event.digests[Bank.SHA256] for event in made.registers[0]),
        Bank.SHA256.digest(b"os-separator"),
    ]
    assert replay(Bank.SHA256, separated) == QUOTED[Bank.SHA256][0]


def test_evidence_gives_a_record_if_its_logs_replay_to_what_was_quoted(
    firmware: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, output = tmp_path / "evidence.json", tmp_path / "record.json"
    machine = Machine(authority=Authority())
    path.write_bytes(evidence.encode(machine.evidence(fresh_nonce(), bytes(32))))
    assert _run(path, firmware, output, "-v") == 0
    made = recorded.decode(output.read_bytes())
    assert "quoted values" in made.source
    assert [event.type for event in made.registers[0]] == ["EV_EFI_PLATFORM_FIRMWARE_BLOB", "EV_SEPARATOR"]
    assert "platform-code" in capsys.readouterr().out


def test_evidence_whose_log_lost_an_event_is_refused_and_leaves_no_file(
    firmware: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, output = tmp_path / "evidence.json", tmp_path / "record.json"
    machine = Machine(authority=Authority())
    told = machine.evidence(fresh_nonce(), bytes(32))
    shorter = Machine(authority=machine.authority, firmware=machine.firmware[1:]).evidence(
        fresh_nonce(), bytes(32)
    )
    value = json.loads(evidence.encode(told))
    value["firmware_log"] = json.loads(evidence.encode(shorter))["firmware_log"]
    path.write_text(json.dumps(value))
    assert _run(path, firmware, output) == 1
    assert "register 0, sha256" in capsys.readouterr().err
    assert not output.exists()


def test_evidence_whose_values_are_not_those_of_the_quote_is_refused(
    firmware: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, output = tmp_path / "evidence.json", tmp_path / "record.json"
    value = json.loads(evidence.encode(Machine(authority=Authority()).evidence(fresh_nonce(), bytes(32))))
    value["pcrs"]["sha256"]["0"] = "00" * 32
    path.write_text(json.dumps(value))
    assert _run(path, firmware, output) == 1
    assert "error:" in capsys.readouterr().err
    assert not output.exists()


def test_shape_of_the_machine_is_recorded_as_it_was_told(
    firmware: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, output = tmp_path / "binary_bios_measurements", tmp_path / "record.json"
    log.write_bytes(LOG)
    assert _run(log, firmware, output) == 0
    assert recorded.decode(output.read_bytes()).shape is None
    assert "whose shape nobody said" in capsys.readouterr().out
    assert _run(log, firmware, output, "--memory", "4096", "--processors", "4") == 0
    assert json.loads(output.read_bytes())["machine"] == {"memory_mib": 4096, "processors": 4}
    assert "on a machine of 4096 MiB and 4 processors" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words", [("--memory", "4096"), ("--processors", "2"), ("--memory", "0", "--processors", "2")]
)
def test_half_a_shape_is_a_usage_error_and_nothing_is_written(
    words: tuple[str, ...], firmware: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, output = tmp_path / "binary_bios_measurements", tmp_path / "record.json"
    log.write_bytes(LOG)
    with pytest.raises(SystemExit) as ended:
        _run(log, firmware, output, *words)
    assert ended.value.code == 2
    assert "--memory" in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize("content", [b"", b"{}", b"no log at all", LOG[:1000]])
def test_source_that_is_none_is_refused_in_one_line(
    content: bytes, firmware: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, output = tmp_path / "source", tmp_path / "record.json"
    path.write_bytes(content)
    assert _run(path, firmware, output) == 1
    assert len([line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]) == 1
    assert not output.exists()


def test_address_that_is_none_is_refused(
    firmware: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run("https://machine:443/path", firmware, tmp_path / "record.json") == 1
    assert "expected https://HOST:PORT" in capsys.readouterr().err
