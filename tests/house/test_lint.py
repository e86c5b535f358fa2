# SPDX-License-Identifier: Apache-2.0
"""Types, style, imports and shell: the tools that read the code, run as tests."""

import os
import subprocess
import sys

import pytest

from tests.house.tree import PROGRAMS, ROOT, scripts


def run(*argv: str) -> None:
    """Run a checker at the root of the tree; what it prints is the failure."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT / 'agent/src'}"}
    done = subprocess.run(
        argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    if done.returncode != 0:
        pytest.fail(f"{' '.join(argv)}\n{done.stdout}{done.stderr}", pytrace=False)


def test_ruff_finds_nothing() -> None:
    run(sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format=concise", ".")


def test_ruff_would_format_nothing_in_another_way() -> None:
    run(sys.executable, "-m", "ruff", "format", "--no-cache", "--check", ".")


def test_mypy_finds_nothing() -> None:
    run(sys.executable, "-m", "mypy")


def test_the_rooms_import_only_what_stands_below_them() -> None:
    run(str(PROGRAMS / "lint-imports"), "--no-cache")


def test_shellcheck_finds_nothing() -> None:
    names = [str(path) for path in scripts() if path.suffix != ".py"]
    assert "scripts/just" in names
    run(str(PROGRAMS / "shellcheck"), *names)
