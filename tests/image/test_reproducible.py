# SPDX-License-Identifier: Apache-2.0
"""The same commit, packages and keys give the same image, bit for bit, wherever it is built."""

import hashlib
import shutil
from pathlib import Path

import pytest

from mantlet.edge import image, process, project
from mantlet.edge.image import Build
from mantlet.edge.keys import KeyFolder
from mantlet.edge.tools import ToolsTree


def copy_checkout(source: Path, target: Path) -> None:
    """Copy what git knows or would add, and its history; share the tools and their package cache."""
    ours = ("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    listing = process.run(["git", "-C", str(source), *ours])
    for name in listing.stdout.decode().split("\0"):
        path = source / name
        if name and (path.is_symlink() or path.is_file()):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target / name, follow_symlinks=False)
    shutil.copytree(source / ".git", target / ".git")
    (target / "tools").symlink_to(source / "tools")


def digests(built: Build) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in built.directory.iterdir()}


def test_a_build_of_another_checkout_gives_the_same_bits(
    built: Build, tools: ToolsTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = KeyFolder(project.key_folder())
    copy_checkout(project.root(), tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path / "elsewhere")
    second = image.build(keys=keys, tools=tools)
    assert second.directory.parent == tmp_path / "elsewhere/build"
    # First of all the one that a reader can act on.
    assert second.path("roothash").read_bytes() == built.path("roothash").read_bytes()
    assert digests(second) == digests(built)
