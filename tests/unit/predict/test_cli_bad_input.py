# SPDX-License-Identifier: Apache-2.0
"""Bad input on the command line: one line that says what and where, exit 1, nothing on stdout, no file."""

from pathlib import Path

import pytest

from mantlet.cli import main
from tests.unit.measure import recorded
from tests.unit.predict import boots, initrds, media, synthetic
from tests.unit.predict.synthetic import HEADERS, OPTIONAL, TABLE, patched

UKI = synthetic.uki(synthetic.sections(linux=boots.KERNEL, initrd=initrds.cpio_of(initrds.PHASE)))
DISK = media.with_esp(UKI)
LOG = recorded.boot().firmware_log
# Section headers are 40 bytes: virtual size +8, address +12, raw size +16, raw offset +20.
SECOND = TABLE + 40
IMAGES = {
    "not a PE": (b"MZ" + bytes(510), "at byte 0: expected PE signature"),
    "a PE that is cut": (UKI[:-512], f"at byte {len(UKI) - 512}: expected sections until {len(UKI)}"),
    "sections that overlap in the file": (
        patched(UKI, SECOND + 20, HEADERS, 4),
        "right behind what precedes it, found it starts at 1024",
    ),
    "sections that overlap in memory": (patched(UKI, SECOND + 12, 4096, 4), "found an overlap"),
    "an image of 4 GiB": (
        patched(UKI, OPTIONAL + 56, 0xFFFFFFFF, 4),
        f"at byte {OPTIONAL + 56}: expected an image of at most",
    ),
    "a section of 4 GiB": (
        patched(UKI, TABLE + 8, 0xFFFFFFFF, 4),
        f"at byte {TABLE + 8}: expected section .sbat inside the image",
    ),
    "section content of 4 GiB": (patched(UKI, TABLE + 16, 0xFFFFFFFF, 4), "right behind what precedes it"),
    "a UKI without .linux": (
        synthetic.uki(synthetic.sections(linux=None)),
        "UKI: expected a section .linux, found none",
    ),
    "a disk whose table has another CRC": (
        patched(DISK, 512 + 60, 0xFF, 1),
        "partition table at byte 528: expected header CRC",
    ),
    "a disk whose entries have another CRC": (
        patched(DISK, 1024 + 56, 0xFF, 1),
        "partition table at byte 600: expected CRC of the entries",
    ),
    "a disk that is cut": (DISK[: 1 << 20], "partition table at byte"),
}
# EFI_SIGNATURE_LIST: type, size of the list, of its header, of a signature.
HEAD = bytes.fromhex("a159c0a5e494a74a87b5ab155c2bf072")
LISTS = {
    "a list that ends early": HEAD + (100).to_bytes(4, "little") + bytes(4) + (48).to_bytes(4, "little"),
    "a list shorter than its head": HEAD + (4).to_bytes(4, "little") + bytes(8),
    "a list of torn signatures": HEAD
    + (28 + 47).to_bytes(4, "little")
    + bytes(4)
    + (48).to_bytes(4, "little")
    + bytes(47),
    "a signature without a size": HEAD + (28 + 48).to_bytes(4, "little") + bytes(8) + bytes(48),
    "not even a head": HEAD[:9],
}
LOGS = {
    "a log that is longer than it says": (
        LOG[:28] + b"\xff\xff\xff\xff" + LOG[32:],
        "at byte 0: expected a specification ID",
    ),
    "a log whose algorithms have other sizes": (
        LOG.replace(b"\x0b\x00\x20\x00", b"\x0b\x00\x30\x00", 1),
        "0x000b of 48 bytes",
    ),
    "no log": (b"no log at all", "firmware log"),
    "an empty log": (b"", "found 0"),
}


def _refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Run a verb that must refuse; return its one line."""
    assert main([*map(str, words)], environ={}) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    (line,) = [line for line in said.err.splitlines() if line.startswith("error:")]
    assert ": expected " in line
    assert ", found " in line
    return line


@pytest.mark.parametrize("name", IMAGES)
def test_image_that_is_bad_is_refused_in_one_line_with_its_place_and_leaves_no_manifest(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, expected = IMAGES[name]
    image, output = tmp_path / "image", tmp_path / "measurements.json"
    image.write_bytes(data)
    assert expected in _refused(capsys, "predict", image, "--secure-boot", "off", "--output", output)
    assert [path.name for path in tmp_path.iterdir()] == ["image"]


@pytest.mark.parametrize("name", LISTS)
def test_signature_list_with_wrong_sizes_is_refused_in_one_line_and_leaves_no_manifest(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, keys, output = tmp_path / "image", tmp_path / "db.esl", tmp_path / "measurements.json"
    image.write_bytes(UKI)
    keys.write_bytes(LISTS[name])
    line = _refused(capsys, "predict", image, "--pk", keys, "--db", keys, "--output", output)
    assert "at byte " in line
    assert not output.exists()


@pytest.mark.parametrize("name", LOGS)
def test_log_that_lies_is_refused_in_one_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, expected = LOGS[name]
    image, manifest, log = tmp_path / "image", tmp_path / "measurements.json", tmp_path / "log"
    image.write_bytes(UKI)
    assert main(["predict", str(image), "--secure-boot", "off", "--output", str(manifest)], environ={}) == 0
    capsys.readouterr()
    log.write_bytes(data)
    assert expected in _refused(capsys, "explain", manifest, log)


def test_bank_that_is_unknown_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, output = tmp_path / "image", tmp_path / "measurements.json"
    image.write_bytes(UKI)
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(image), "--bank", "sm3_256", "--output", str(output)], environ={})
    assert ended.value.code == 2
    assert "sm3_256" in capsys.readouterr().err
    assert not output.exists()


def test_manifest_that_is_there_stays_whole_when_the_next_one_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, output = tmp_path / "image", tmp_path / "measurements.json"
    image.write_bytes(UKI)
    assert main(["predict", str(image), "--secure-boot", "off", "--output", str(output)], environ={}) == 0
    capsys.readouterr()
    before = output.read_bytes()
    image.write_bytes(UKI[:-512])
    _refused(capsys, "predict", image, "--secure-boot", "off", "--output", output)
    assert output.read_bytes() == before
