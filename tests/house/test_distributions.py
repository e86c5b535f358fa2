# SPDX-License-Identifier: Apache-2.0
"""The agent's wheel: the same bytes from the same source, wherever built, whatever becomes of the tool."""

import hashlib
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.house.tree import ROOT, tracked


def copy_of_the_tree(target: Path) -> Path:
    for path in tracked():
        (target / path.parent).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, target / path)
    return target


def build(project: Path, output: Path) -> Path:
    argv = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(output)]
    done = subprocess.run(argv, cwd=project, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    (wheel,) = output.glob("*.whl")
    return wheel


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return copy_of_the_tree(tmp_path / "tree")


def test_the_agents_wheel_is_the_same_in_another_folder_and_after_an_edit_of_the_tool(
    tree: Path, tmp_path: Path
) -> None:
    first = build(tree / "agent", tmp_path / "one")
    elsewhere = copy_of_the_tree(tmp_path / "quite" / "another place")
    tool = elsewhere / "src/mantlet/cli/__init__.py"
    tool.write_text(
        tool.read_text("utf-8").replace("verify a running machine", "verify one running machine"), "utf-8"
    )
    assert digest(tool) != digest(tree / "src/mantlet/cli/__init__.py")
    assert digest(build(elsewhere / "agent", tmp_path / "two")) == digest(first)


def test_the_agents_wheel_changes_with_the_agent(tree: Path, tmp_path: Path) -> None:
    first = build(tree / "agent", tmp_path / "one")
    module = tree / "agent/src/mantlet_measure/words.py"
    module.write_text(module.read_text("utf-8") + "\n# changed\n", "utf-8")
    assert digest(build(tree / "agent", tmp_path / "two")) != digest(first)


def test_the_agents_wheel_holds_the_agent_and_the_ground_floor_and_nothing_of_the_tool(
    tree: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(build(tree / "agent", tmp_path / "wheel")) as wheel:
        names = wheel.namelist()
        contents = b"".join(wheel.read(name) for name in names)
    tops = {name.split("/", 1)[0] for name in names if ".dist-info/" not in name}
    assert {"mantlet_agent", "mantlet_measure"} <= tops
    assert tops <= {"mantlet_agent", "mantlet_measure", "__main__.py"}
    assert str(tmp_path).encode() not in contents


def test_the_tools_wheel_holds_the_tool_alone(tree: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(build(tree, tmp_path / "wheel")) as wheel:
        tops = {name.split("/", 1)[0] for name in wheel.namelist() if ".dist-info/" not in name}
    assert tops == {"mantlet"}
