# SPDX-License-Identifier: Apache-2.0
"""Tests of `mantlet predict` on real artefacts."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from mantlet.cli import main
from mantlet.release import manifest

SCHEMA = Path(__file__).parents[3] / "policies" / "schema" / "measurements.json"


def test_predict_writes_a_manifest_that_decodes_and_matches_its_schema(
    artefacts: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "measurements.json"
    assert main(["predict", str(artefacts.folder), "--output", str(output), "--json"], environ={}) == 0
    written = output.read_bytes()
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(written)
    jsonschema.validate(printed, json.loads(SCHEMA.read_bytes()))
    assert manifest.decode(written).image.id == "mantlet"


def test_predict_prints_every_register_of_both_banks(
    artefacts: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    store = str(artefacts.folder / "OVMF_VARS.fd")
    assert main(["predict", str(artefacts.folder / "uki.efi"), "--vars", store, "-v"], environ={}) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line[2:4].strip().isdigit()]) == 16
    assert any("EV_EFI_VARIABLE_AUTHORITY" in line for line in lines)


def test_predict_of_an_unsigned_image_is_refused_and_leaves_no_file(
    artefacts: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "measurements.json"
    store = str(artefacts.folder / "OVMF_VARS.fd")
    image = str(artefacts.folder / "unsigned.efi")
    assert main(["predict", image, "--vars", store, "--output", str(output)], environ={}) == 1
    assert "no signature" in capsys.readouterr().err
    assert not output.exists()
