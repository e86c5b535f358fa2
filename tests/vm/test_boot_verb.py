# SPDX-License-Identifier: Apache-2.0
"""`mantlet boot` when QEMU does not start: paths mean the caller's folder, and the reason is shown."""

from pathlib import Path

import pytest

from mantlet.cli import main
from mantlet.edge.image import Build

pytestmark = pytest.mark.vm


@pytest.mark.parametrize("option", ["--weights", "--deployment"])
def test_disk_that_cannot_be_opened_is_named_by_its_whole_path(
    option: str,
    built: Build,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    # It is there, below the caller's folder, and QEMU takes no folder for a disk.
    (tmp_path / "disk.raw").mkdir()
    words = ["boot", "--build", str(built.directory), "--state", "state", option, "disk.raw"]
    assert main(words, environ={}) == 1
    told = capsys.readouterr().err
    assert "expected QEMU to run until the machine powers off, found its exit code 1" in told
    assert f"'{tmp_path / 'disk.raw'}'" in told
    assert "qemu.log" in told


def test_disk_that_is_not_there_is_said_to_be_missing(
    built: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["boot", "--build", str(built.directory), "--state", "state", "--weights", "missing.raw"]
    assert main(words, environ={}) == 1
    assert str(tmp_path / "missing.raw") in capsys.readouterr().err
