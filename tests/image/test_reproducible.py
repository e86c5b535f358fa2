# SPDX-License-Identifier: Apache-2.0
"""The same commit, packages and keys give the same image, bit for bit, wherever it is built."""

import hashlib
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from mantlet.edge import image, process, project
from mantlet.edge.image import Build
from mantlet.edge.keys import KeyFolder
from mantlet.edge.process import Running
from mantlet.edge.tools import ToolsTree


def copy_checkout(source: Path, target: Path) -> None:
    """Copy what git knows or would add, and its history; share the tools, their caches, and the keys."""
    ours = ("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    listing = process.run(["git", "-C", str(source), *ours])
    for name in listing.stdout.decode().split("\0"):
        path = source / name
        if name and (path.is_symlink() or path.is_file()):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target / name, follow_symlinks=False)
    shutil.copytree(source / ".git", target / ".git")
    for shared in ("tools", "keys"):
        (target / shared).symlink_to(source / shared)


def digests(built: Build) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in built.directory.iterdir()}


def interrupt(checkout: Path, log: Path) -> None:
    """Start a build as a user would, and kill it and all that it started in the middle of mkosi's work."""
    building = Running([sys.executable, "-m", "mantlet", "build"], log=log, cwd=checkout)
    try:
        while "Building root" not in building.last_words():
            assert building.wait(0.1) is None, building.last_words()
        assert building.wait(3) is None, building.last_words()
    finally:
        os.killpg(building.pid, signal.SIGKILL)
        building.wait(10)


def test_a_build_elsewhere_that_was_interrupted_before_gives_the_same_bits(
    built: Build, tools: ToolsTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    copy_checkout(project.root(), elsewhere)
    interrupt(elsewhere, tmp_path / "log")
    # No name stands for what is not all there.
    assert [path.name for path in (elsewhere / "build").iterdir() if not path.name.startswith(".")] == [
        "mkosi.log"
    ]
    monkeypatch.chdir(elsewhere)
    second = image.build(keys=KeyFolder(project.key_folder()), tools=tools)
    assert [path.name for path in (elsewhere / "build").glob(".*.partial")] == []
    # What a reader can act on comes first: another version, another root.
    assert second.directory == elsewhere / "build" / built.directory.name
    assert second.path("roothash").read_bytes() == built.path("roothash").read_bytes()
    assert digests(second) == digests(built)
