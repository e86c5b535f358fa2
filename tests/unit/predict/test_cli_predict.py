# SPDX-License-Identifier: Apache-2.0
"""Tests of `mantlet predict` on real artefacts: a UKI, a disk, a build folder, and what is none of them."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from mantlet.cli import main
from mantlet.predict.initrd_content import ROOT_UNITS
from mantlet.release import manifest
from mantlet.release.deployment import new_deployment, sign
from mantlet.release.manifest import Basis
from mantlet_measure import dsse
from mantlet_measure.pcr import ENFORCED, Bank, replay
from tests.unit.measure.samples import DEPLOYMENT, MODEL, RELEASE_KEY
from tests.unit.predict import media
from tests.unit.predict.test_disk import LOADER
from tests.unit.predict.test_recorded import FIRMWARE, _source, record, recorded
from tests.unit.release.samples import MANIFEST

SCHEMA = Path(__file__).parents[3] / "policies" / "schema" / "measurements.json"


@pytest.fixture(scope="module")
def build(artefacts: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build folder: a disk that starts the signed UKI without a boot secret, and the keys."""
    folder = tmp_path_factory.mktemp("build")
    files = {"EFI/BOOT/BOOTX64.EFI": artefacts.read("uki.efi"), "loader/boot-secret-mixin": b"\0"}
    (folder / "disk.raw").write_bytes(media.with_esp(media.fat(artefacts, files, name="build")))
    (folder / "uki.efi").write_bytes(artefacts.read("uki.efi"))
    (folder / "OVMF_VARS.fd").write_bytes(artefacts.read("OVMF_VARS.fd"))
    return folder


def _run(*words: object) -> int:
    return main(["predict", *map(str, words)], environ={})


def _json(capsys: pytest.CaptureFixture[str], *words: object) -> Any:
    assert _run(*words, "--json") == 0
    return json.loads(capsys.readouterr().out)


def _values(document: Any, bank: str = "sha256") -> dict[str, str]:
    return {
        number: held["value"] for number, held in document["platforms"]["qemu-ovmf"]["banks"][bank].items()
    }


def test_predict_writes_a_manifest_that_decodes_and_matches_its_schema(
    build: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "measurements.json"
    printed = _json(capsys, build, "--output", output)
    assert printed == json.loads(output.read_bytes())
    jsonschema.validate(printed, json.loads(SCHEMA.read_bytes()))
    made = manifest.decode(output.read_bytes())
    platform = made.platforms["qemu-ovmf"]
    assert (made.image.id, platform.enforced, platform.tested) == ("mantlet", ENFORCED, "booted")
    assert set(platform.basis) == {4, 5, 7, 8, 9, 11, 12, 13, 14, 15}
    assert set(platform.unpredictable) == {0, 1, 2, 3, 6, 10}


def test_predict_prints_every_register_of_both_banks(build: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(build, "-v") == 0
    lines = capsys.readouterr().out.splitlines()
    numbered = [line for line in lines if line[2:4].strip().isdigit()]
    assert len(numbered) == 2 * 16
    assert sum("unpredictable: " in line for line in numbered) == 2 * 6
    assert any("EV_EFI_VARIABLE_AUTHORITY" in line for line in lines)


def test_uki_and_disk_of_a_build_agree_in_all_that_the_uki_settles(
    build: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = _values(_json(capsys, build))
    uki = _values(_json(capsys, build / "uki.efi", "--root-units", "none"))
    # 5 needs the partition table, and 9 the file that keeps the boot secret away.
    assert {number: disk[number] for number in disk if number not in ("5", "9")} == uki


def test_every_bank_that_is_asked_for_is_there(build: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--bank", "sha1", "--bank", "sha512")
    document = _json(capsys, build, *words)
    assert set(document["platforms"]["qemu-ovmf"]["banks"]) == {"sha1", "sha256", "sha384", "sha512"}
    assert _run(build, *words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line in tuple(Bank)] == ["sha1", "sha512"]


def test_keys_from_lists_store_and_uefi_data_give_the_same_register(
    artefacts: Any, build: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    variables = json.loads(artefacts.read("vars.json"))["variables"]
    lists = []
    for item in variables:
        if item["name"] in ("PK", "KEK", "db", "dbx"):
            path = artefacts.folder / f"{item['name']}.esl"
            path.write_bytes(bytes.fromhex(item["data"]))
            lists += [f"--{item['name'].lower()}", path]
    blob = artefacts.path("blob.aws")
    artefacts.run("virt-fw-vars", "--input", artefacts.path("OVMF_VARS.fd"), "--output-aws", blob)
    uki = build / "uki.efi"
    expected = _values(_json(capsys, uki))["7"]
    assert _values(_json(capsys, uki, *lists))["7"] == expected
    assert _values(_json(capsys, uki, "--uefi-data", blob))["7"] == expected
    assert _values(_json(capsys, uki, "--secure-boot", "off"))["7"] != expected


def test_disk_with_a_loader_starts_the_entry_that_is_named(
    artefacts: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {
        "EFI/BOOT/BOOTX64.EFI": LOADER,
        "EFI/Linux/a.efi": artefacts.read("unsigned.efi"),
        "EFI/Linux/b.efi": artefacts.read("uki.efi"),
        "loader/loader.conf": b"timeout 0\n",
    }
    path = tmp_path / "loader.raw"
    path.write_bytes(media.with_esp(media.fat(artefacts, files, name="loader")))
    document = _json(capsys, path, "--secure-boot", "off", "--uki", "b.efi")
    register = document["platforms"]["qemu-ovmf"]["banks"]["sha256"]["4"]
    assert [event["description"] for event in register["events"][2:4]] == [
        "Authenticode hash of the boot loader",
        "Authenticode hash of the UKI",
    ]
    five = document["platforms"]["qemu-ovmf"]["banks"]["sha256"]["5"]
    assert "loader.conf: configuration of systemd-boot" in [item["description"] for item in five["events"]]


def test_loader_that_would_enrol_keys_on_a_machine_in_setup_mode_is_refused(
    artefacts: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {
        "EFI/BOOT/BOOTX64.EFI": LOADER,
        "EFI/Linux/a.efi": artefacts.read("unsigned.efi"),
        "loader/keys/auto/db.auth": b"x",
    }
    path = tmp_path / "enrols.raw"
    path.write_bytes(media.fat(artefacts, files, name="enrols"))
    assert _run(path, "--secure-boot", "off") == 1
    assert "setup mode" in capsys.readouterr().err


def test_published_values_and_differences_of_the_platform_are_told_to_who_asks(
    build: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(build, "--platform", "ec2-nitrotpm", "-v") == 0
    out = capsys.readouterr().out
    assert "(derived)" in out
    assert "published, always: Constellation" in out
    assert "register 7 on Amazon EC2 with NitroTPM" in out


def test_companions_and_command_lines_move_the_registers_that_they_are_measured_into(
    artefacts: Any, build: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in ("a.cred", "b.raw", "c.confext.raw"):
        (tmp_path / name).write_bytes(b"content")
    clean = _values(_json(capsys, build))

    def moved(*words: object) -> set[str]:
        changed = _values(_json(capsys, build, *words))
        return {number for number in clean if clean[number] != changed.get(number)}

    assert moved("--credential", tmp_path / "a.cred") == {"9", "12"}
    assert moved("--sysext", tmp_path / "b.raw") == {"9", "13"}
    assert moved("--confext", tmp_path / "c.confext.raw") == {"9", "12"}
    assert moved("--smbios-cmdline", "debug") == {"9", "12"}
    assert moved("--phases", "enter-initrd") == {"11"}
    assert "4" in moved("--without-os-separator")
    assert moved("--root-units", next(iter(ROOT_UNITS))) == {"15"}


def test_firmware_record_fills_the_registers_of_the_firmware(
    build: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "firmware.json"
    path.write_bytes(recorded.encode(record(_source(), firmware_sha256=FIRMWARE)))
    document = _json(capsys, build, "--firmware-record", path)
    platform = manifest.decode(json.dumps(document, sort_keys=True, separators=(",", ":")).encode())
    made = platform.platforms["qemu-ovmf"]
    assert (made.recorded, made.firmware_sha256) == ((0, 1, 2, 3, 6), FIRMWARE)
    assert made.basis[0] is Basis.RECORDED
    assert made.enforced == ENFORCED
    assert _run(build, "--firmware-record", path) == 0
    assert "(recorded)" in capsys.readouterr().out


def test_phases_are_shown_one_after_the_other(build: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = _json(capsys, build, "--all-phases")
    assert _values(_json(capsys, build))["11"] == document["banks"]["sha256"]["enter-initrd:leave-initrd"]
    assert _run(build, "--all-phases", "--bank", "sha384") == 0
    assert "enter-initrd:leave-initrd:sysinit:ready" in capsys.readouterr().out


def test_register_15_follows_the_words_for_a_deployment_document(
    build: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = new_deployment(
        manifest.encode(MANIFEST), MODEL, id="demo", runtime="llama-server", policy_key=DEPLOYMENT.policy_key
    )
    path = tmp_path / "deployment.json"
    path.write_bytes(dsse.encode(sign(document, [RELEASE_KEY])))
    held = _json(capsys, build, "--deployment", path)["platforms"]["qemu-ovmf"]["banks"]["sha256"]["15"]
    words = [event["description"] for event in held["events"]]
    assert words[-1] == "mantlet:cap"
    assert len(words) == 4
    assert replay(Bank.SHA256, (Bank.SHA256.digest(word.encode()) for word in words)).hex() == held["value"]
    assert _run(build, "--deployment", path, "--output", tmp_path / "measurements.json") == 1
    assert "--deployment too" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("empty.efi", b"", "1 to"),
        ("short.efi", b"MZ", "4 bytes at 60|multiple of 8"),
        ("text.efi", b"no image at all" * 100, "EFI PART"),
        ("fat.img", b"\xeb\x3c\x90" + bytes(509) + b"\x55\xaa", "a boot sector|sectors of 512"),
    ],
)
def test_file_that_is_no_image_is_refused_in_one_line_and_leaves_no_file(
    name: str, content: bytes, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    output = tmp_path / "measurements.json"
    assert _run(tmp_path / name, "--secure-boot", "off", "--output", output) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert re.search(expected, errors[0])
    assert not output.exists()


def test_predict_of_an_unsigned_image_is_refused_and_leaves_no_file(
    artefacts: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "measurements.json"
    image = artefacts.folder / "unsigned.efi"
    assert _run(image, "--vars", artefacts.path("OVMF_VARS.fd"), "--output", output) == 1
    assert "no signature" in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (("--bank", "md5"), 2, "invalid choice"),
        (("--profile", "-1"), 2, "0 to 255"),
        (("--phases", "enter-initrd:nonsense"), 2, "nonsense"),
        (("--root-units", "sshd.service"), 2, "sshd.service"),
        (("--vars", "x", "--pk", "y"), 2, "not allowed with"),
        (("--uki", "a.efi"), 1, "found one image"),
        (("--platform", "mainframe"), 1, "expected one of"),
        (("--profile", "7"), 1, "a profile from 0"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_one_line(
    words: tuple[str, ...], code: int, expected: str, build: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        found = _run(build / "uki.efi", *words)
    except SystemExit as stopped:
        found = int(str(stopped.code))
    assert found == code
    assert expected in capsys.readouterr().err


def test_image_without_any_keys_is_refused_with_the_options_that_bring_some(
    artefacts: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = tmp_path / "uki.efi"
    alone.write_bytes(artefacts.read("uki.efi"))
    assert _run(alone) == 1
    assert "--uefi-data" in capsys.readouterr().err
    assert _run(alone, "--secure-boot", "off") == 0
    assert _run(alone, "--secure-boot", "on") == 1
