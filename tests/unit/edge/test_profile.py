# SPDX-License-Identifier: Apache-2.0
"""The debug image's recipe lies over a copy, fails when the sealed image's has moved on, and has own keys."""

import subprocess
from pathlib import Path

import pytest

from mantlet.edge import image, profile, recipe
from mantlet.edge.keys import KeyFolder
from mantlet.edge.profile import Profile
from mantlet.edge.recipe import Version
from mantlet_measure.errors import DecodeError


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The least checkout whose recipe can be laid over."""
    for name, text in {
        "image/kept": "kept\n",
        "image/closed": "closed\n",
        "image/list": "zero\none\n",
        "image/debug/absent.list": "# what goes\nclosed\n",
        "image/debug/over/kept": "open\n",
        "image/debug/over/list.add": "two\n",
        "image/debug/over/list.less": "# why\nzero\n",
        "image/debug/parameters.yaml": "id: image-debug\n",
        "agent/debug/uncapped.py": "program\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def copied(checkout: Path) -> Path:
    target = checkout / "rendered"
    target.mkdir()
    for name in ("kept", "closed", "list"):
        (target / name).write_text((checkout / "image" / name).read_text())
    return target


def test_a_file_takes_a_place_is_added_or_goes(checkout: Path) -> None:
    target = copied(checkout)
    profile.lay_over(checkout, target)
    held = {str(path.relative_to(target)): path.read_text() for path in target.rglob("*") if path.is_file()}
    assert held == {
        "kept": "open\n",
        "list": "one\ntwo\n",
        "mkosi.extra/usr/lib/mantlet-debug/uncapped.py": "program\n",
    }


def test_an_overlay_of_a_recipe_that_has_moved_on_is_refused(checkout: Path) -> None:
    target = copied(checkout)
    (target / "closed").unlink()
    with pytest.raises(DecodeError, match=r"absent.list: expected paths of image/, found closed"):
        profile.lay_over(checkout, target)


def test_a_line_that_the_recipe_has_not_is_not_taken_out(checkout: Path) -> None:
    (checkout / "image/debug/over/list.less").write_text("three\n")
    with pytest.raises(DecodeError, match=r"list.less: expected lines of list, found three"):
        profile.lay_over(checkout, copied(checkout))


@pytest.mark.parametrize("theirs", [False, True])
def test_a_key_of_the_other_kind_of_image_is_refused(tmp_path: Path, theirs: bool) -> None:
    KeyFolder(tmp_path, debug=theirs).secure_boot()
    with pytest.raises(DecodeError, match=f"expected one for {'release' if theirs else 'debug'} images"):
        KeyFolder(tmp_path, debug=not theirs).secure_boot()


def test_the_recipe_of_one_kind_is_not_rendered_with_keys_of_the_other(tmp_path: Path) -> None:
    keys = KeyFolder(tmp_path / "keys")
    with pytest.raises(ValueError, match="keys of a kind"):
        image.render(tmp_path / "out", name=Version(text="1", epoch=1), keys=keys, kind=Profile.DEBUG)
    assert not (tmp_path / "out").exists()


def test_a_commit_to_the_debug_image_moves_its_version_and_not_that_of_the_sealed_one(checkout: Path) -> None:
    def commit(name: str, when: int) -> None:
        (checkout / name).write_text(f"{when}\n")
        stamp = {
            "GIT_AUTHOR_DATE": f"{when} +0000",
            "GIT_COMMITTER_DATE": f"{when} +0000",
            "HOME": str(checkout),
        }
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        git = ["git", "-C", str(checkout), *identity]
        subprocess.run([*git, "add", "image", "agent"], check=True)
        subprocess.run([*git, "commit", "--quiet", "--message", name], check=True, env=stamp)

    subprocess.run(["git", "init", "--quiet", str(checkout)], check=True)
    commit("image/kept", 1_000_000_000)
    commit("image/debug/over/kept", 1_100_000_000)
    assert recipe.version(checkout).epoch == 1_000_000_000
    assert recipe.version(checkout, Profile.DEBUG).epoch == 1_100_000_000
