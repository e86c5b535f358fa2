# SPDX-License-Identifier: Apache-2.0
"""The files that a commit would hold, for the tests that keep the house."""

import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(sys.executable).parent


@cache
def tracked() -> tuple[Path, ...]:
    """List tracked files and new ones that no ignore rule covers, relative to the root, sorted."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    return tuple(
        sorted(
            path for name in listing.split("\0") if name and (path := Path(name)) and (ROOT / path).is_file()
        )
    )


def text_files() -> tuple[Path, ...]:
    """List the tracked files that are text."""
    return tuple(path for path in tracked() if b"\0" not in (ROOT / path).read_bytes()[:8192])


def python_files(*folders: str) -> tuple[Path, ...]:
    """List the Python files below `folders`, or all."""
    return tuple(
        path
        for path in tracked()
        if path.suffix == ".py" and (not folders or str(path).startswith(tuple(folders)))
    )


def scripts() -> tuple[Path, ...]:
    """List the tracked files that start with a shebang, image scripts included."""
    return tuple(path for path in text_files() if (ROOT / path).read_bytes()[:2] == b"#!")


def read(path: Path | str) -> str:
    """Read a file of the tree as text."""
    return (ROOT / path).read_text("utf-8")
