# SPDX-License-Identifier: Apache-2.0
"""A release report looks at the recipe of a build when that is the checkout's, and at no other."""

import dataclasses
from pathlib import Path

import pytest

from mantlet.edge import process, recipe, release_files
from mantlet.release.reference_values import ImageIdentity
from tests.unit.release.samples import MANIFEST


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with a recipe, committed."""
    (tmp_path / "image").mkdir()
    (tmp_path / "image/parameters.yaml").write_text("id: mantlet\n")
    who = ["-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "A recipe"]):
        process.run(["git", "-C", str(tmp_path), *words])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def built(checkout: Path, **changes: str) -> ImageIdentity:
    """The image that is built of the checkout, with changes."""
    own = dataclasses.replace(MANIFEST.image, id="mantlet", version=recipe.version(checkout).text)
    return dataclasses.replace(own, **changes)  # type: ignore[arg-type]  # text alone


def test_the_recipe_of_a_build_of_this_commit_is_the_checkouts(checkout: Path) -> None:
    assert release_files.recipe_of(built(checkout)) == checkout / "image"


@pytest.mark.parametrize(
    "changes", [{"id": "mantlet-debug"}, {"version": "20260101.000000"}, {"version": ""}]
)
def test_another_build_has_no_recipe_here(checkout: Path, changes: dict[str, str]) -> None:
    assert release_files.recipe_of(built(checkout, **changes)) is None


def test_a_recipe_with_changes_that_nobody_committed_is_no_builds(checkout: Path) -> None:
    (checkout / "image/mkosi.conf").write_text("[Content]\nAutologin=yes\n")
    image = built(checkout)
    assert image.version.endswith(".modified")
    assert release_files.recipe_of(image) is None
