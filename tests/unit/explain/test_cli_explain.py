# SPDX-License-Identifier: Apache-2.0
"""Tests of `mantlet explain` and `mantlet diff` from the command line, on every form of observation."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mantlet.cli import main
from mantlet_measure import evidence as evidence_format
from mantlet_measure.evidence import State
from mantlet_measure.pcr import BANKS, measured, replay_events
from tests.authority import Authority
from tests.boot_events import (
    encode_firmware_log,
    encode_system_log,
    firmware_events,
    manifest_of,
    system_events,
)
from tests.machine import RUNTIME, Machine
from tests.served import Front, served

PHASE = measured(11, b"sysinit", type="phase", description="sysinit")
WENT_ON = "PCR 11: the boot went on to phase “sysinit”"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def machine(authority: Authority) -> Machine:
    return Machine(authority=authority)


@pytest.fixture
def release(machine: Machine, tmp_path: Path) -> Path:
    path = tmp_path / "measurements.json"
    path.write_bytes(machine.manifest)
    return path


def explain(*argv: str | Path) -> int:
    return main(["explain", *map(str, argv)], environ={})


def saved(machine: Machine, folder: Path) -> Path:
    path = folder / "evidence.json"
    path.write_bytes(evidence_format.encode(machine.evidence(bytes(32), bytes(32))))
    return path


def went_on(machine: Machine) -> Machine:
    """The same machine, whose boot measured one phase more."""
    return replace(machine, system=(*machine.system, PHASE))


def pcrread(machine: Machine) -> str:
    """The registers as tpm2_pcrread prints them."""
    lines: list[str] = []
    for bank, held in machine.registers.items():
        lines.append(f"  {bank}:")
        lines += [f"    {number:<2}: 0x{value.hex().upper()}" for number, value in held.items()]
    return "\n".join(lines) + "\n"


def test_manifest_is_equal_to_itself(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert explain(release, release) == 0
    assert "EQUAL     4, 7, 9, 11, 12, 13, 14, 15 (sha256, sha384)" in capsys.readouterr().out


def test_evidence_of_the_expected_boot_is_equal_where_the_manifest_settles_it(
    machine: Machine, release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain(release, saved(machine, tmp_path)) == 0
    out = capsys.readouterr().out
    assert "15: it holds the agent's words, which only a deployment document settles" in out
    assert "is for `mantlet verify`" in out


@pytest.mark.parametrize("state", list(State))
def test_deployment_document_settles_register_15(
    machine: Machine, release: Path, tmp_path: Path, state: State, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = replace(machine, state=state, capped=state is State.SERVING)
    assert shown.envelope is not None
    document = tmp_path / "deployment.json"
    document.write_bytes(evidence_format.dsse.encode(shown.envelope))
    evidence = saved(shown, tmp_path)
    assert explain(release, evidence, "--deployment", document) == 0
    other = tmp_path / "runtime"
    other.write_bytes(RUNTIME + b"another")
    assert explain(release, evidence, "--deployment", document, "--runtime", other) == 1
    assert "PCR 15: another runtime: " in capsys.readouterr().out


def test_live_machine_is_asked_and_explained(
    machine: Machine, release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "front"
    folder.mkdir()
    with served(Front(machine=went_on(machine), folder=folder)) as front:
        assert explain(release, f"https://127.0.0.1:{front.port}") == 1
        assert front.seen == ["/.well-known/mantlet/evidence"]
    assert WENT_ON in capsys.readouterr().out


def test_machine_that_is_not_there_could_not_be_asked(
    release: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain(release, "https://127.0.0.1:1", "--timeout", "2") == 3
    assert "hint:" in capsys.readouterr().err


@pytest.mark.parametrize("attack", ["value", "signature", "log", "nonce"])
def test_evidence_that_is_not_authentic_explains_nothing(
    machine: Machine, release: Path, tmp_path: Path, attack: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = machine.evidence(bytes(32), bytes(32))
    if attack == "value":
        pcrs = {bank: {**held, 11: bytes(bank.size)} for bank, held in found.pcrs.items()}
        found = replace(found, pcrs=pcrs)
    elif attack == "signature":
        other = machine.evidence(bytes(32), bytes(32))
        found = replace(found, quote=replace(found.quote, signature=other.quote.signature[:-1] + b"\0"))
    elif attack == "log":
        found = replace(found, system_log=encode_system_log((*machine.system, PHASE)))
    else:
        found = replace(found, nonce=b"\1" * 32)
    path = tmp_path / "evidence.json"
    path.write_bytes(evidence_format.encode(found))
    assert explain(release, path) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 2


def test_event_logs_are_explained(
    machine: Machine, release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    firmware, system = tmp_path / "binary_bios_measurements", tmp_path / "tpm2-measure.log"
    firmware.write_bytes(encode_firmware_log(machine.firmware))
    system.write_bytes(encode_system_log((*machine.system, PHASE)))
    assert explain(release, firmware, "--system-log", system, "-v") == 1
    out = capsys.readouterr().out
    assert WENT_ON in out
    assert "extra" in out
    assert explain(release, firmware) == 1
    out = capsys.readouterr().out
    assert "without --system-log, what user space measured is missing" in out
    assert "PCR 4: the os-separator was never measured (also 7, 9, 12, 13, 14)" in out


def test_registers_as_tpm2_pcrread_prints_them_are_explained(
    machine: Machine, release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pcrs.yaml"
    path.write_text(pcrread(machine))
    assert explain(release, path) == 0
    path.write_text("sha1:\nsm3_256:\n  0 : 0x00\n" + pcrread(went_on(machine)))
    assert explain(release, path) == 1
    assert WENT_ON in capsys.readouterr().out


@pytest.mark.parametrize(
    "text",
    ["sha256:\n  0 : 0x00\n", "sha256:\n  24: 0x" + "00" * 32 + "\n", "sha256:\n  x : 0x" + "00" * 32 + "\n"],
)
def test_register_list_of_another_form_is_refused_with_its_line(
    release: Path, tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pcrs.yaml"
    path.write_text(text)
    assert explain(release, path) == 1
    assert "line 2: expected" in capsys.readouterr().err


@pytest.mark.parametrize("data", [b"", b"junk", b"{}", b'{"format":"x"}', b"\0" * 100])
def test_observation_of_no_known_form_is_refused_in_one_line(
    release: Path, tmp_path: Path, data: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "observed"
    path.write_bytes(data)
    assert explain(release, path) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 2


def test_another_release_is_recognised_by_its_manifest(
    machine: Machine, release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kernel = measured(11, b"another kernel", type="EV_IPL", description=".linux")
    events = tuple(
        kernel if event.register == 11 and event.description == ".linux" else event
        for event in firmware_events()
    )
    other = tmp_path / "other.json"
    other.write_bytes(manifest_of((*events, *system_events())))
    path = tmp_path / "pcrs.yaml"
    path.write_text(pcrread(replace(machine, firmware=events)))
    assert explain(release, path, "--known", other) == 1
    assert "PCR 11: the value is that of mantlet 1.2.3 on qemu-ovmf" in capsys.readouterr().out


def test_page_and_json_say_the_same(
    machine: Machine, release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    assert explain(release, saved(went_on(machine), tmp_path), "--html", page, "--json") == 1
    value = json.loads(capsys.readouterr().out)
    assert [finding["words"] for finding in value["findings"]] == [WENT_ON]
    assert WENT_ON in page.read_text()


def test_platform_that_the_manifest_lacks_is_refused(
    release: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain(release, release, "--platform", "elsewhere") == 1
    assert "--platform qemu-ovmf" in capsys.readouterr().err


@pytest.fixture
def builds(tmp_path: Path) -> tuple[Path, Path]:
    """Two build folders that differ in a phase and in a package."""
    folders = []
    for name, events, version in (
        ("a", (*firmware_events(), *system_events()), "1"),
        ("b", (*firmware_events(), *system_events(), PHASE), "2"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "measurements.json").write_bytes(manifest_of(events))
        package = {"name": "linux", "version": version, "architecture": "amd64"}
        (folder / "packages.json").write_text(json.dumps({"root": [package]}))
        folders.append(folder)
    return folders[0], folders[1]


def test_diff_names_registers_and_packages(
    builds: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = map(str, builds)
    assert main(["diff", old, old], environ={}) == 0
    capsys.readouterr()
    assert main(["diff", old, new], environ={}) == 1
    out = capsys.readouterr().out
    assert "MOVED      11 (sha256, sha384)" in out
    assert "packages   linux in root: 1 became 2" in out
    assert "units: not in both folders" in out
    assert main(["diff", old, new, "--changelog"], environ={}) == 1
    assert capsys.readouterr().out.splitlines() == [
        "- Register 11 (kernel-boot): the boot went on to phase “sysinit”.",
        "- Behind it: packages changed: linux.",
    ]
    assert main(["diff", old, new, "--json"], environ={}) == 1
    assert json.loads(capsys.readouterr().out)["packages"][0]["new"] == "2"


def test_diff_names_the_units_that_two_builds_hold(
    builds: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for folder, digest in zip(builds, ("ab" * 32, "cd" * 32), strict=True):
        held = {"usr/lib/systemd/system/x.service": digest, "usr/bin/x": digest}
        (folder / "contents.json").write_text(json.dumps({"root": held}))
    old, new = map(str, builds)
    assert main(["diff", old, new], environ={}) == 1
    out = capsys.readouterr().out
    assert "units      x.service in root: abababababab… became cdcdcdcdcdcd…" in out
    assert "usr/bin/x" not in out
    assert main(["diff", old, new, "--changelog"], environ={}) == 1
    assert capsys.readouterr().out.endswith("packages changed: linux; units changed: x.service.\n")


def test_simulated_registers_are_what_the_logs_replay_to(machine: Machine) -> None:
    for bank in BANKS:
        values = replay_events(bank, (*machine.firmware, *machine.system))
        assert all(machine.registers[bank][number] == values[number] for number in (4, 7, 9, 11, 12, 13, 14))
