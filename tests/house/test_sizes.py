# SPDX-License-Identifier: Apache-2.0
"""How long a file, a function, a script and a recipe may be."""

import ast
import json
import subprocess
from pathlib import Path

import pytest

from tests.house.tree import PROGRAMS, ROOT, python_files, read, scripts, tracked

FILE, TEST_FILE, FUNCTION = 300, 500, 60
SCRIPT, IMAGE_SCRIPT, RECIPE = 40, 30, 3


def too_long(lengths: dict[str, int], limit: int) -> dict[str, int]:
    return {name: length for name, length in lengths.items() if length > limit}


def lines(path: Path) -> int:
    return len(read(path).splitlines())


def test_no_python_file_is_longer_than_it_may_be() -> None:
    code = {str(path): lines(path) for path in python_files("src/", "agent/")}
    assert len(code) > 10
    assert too_long(code, FILE) == {}
    assert too_long({str(path): lines(path) for path in python_files("tests/")}, TEST_FILE) == {}


def test_no_function_is_longer_than_it_may_be() -> None:
    lengths = {
        f"{path}:{node.lineno} {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for path in python_files()
        for node in ast.walk(ast.parse(read(path)))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert too_long(lengths, FUNCTION) == {}


def test_no_script_is_longer_than_it_may_be() -> None:
    lengths = {str(path): lines(path) for path in scripts()}
    in_image = {name: length for name, length in lengths.items() if name.startswith("image/")}
    assert too_long(in_image, IMAGE_SCRIPT) == {}
    assert too_long({name: length for name, length in lengths.items() if name not in in_image}, SCRIPT) == {}


def test_no_recipe_is_longer_than_it_may_be_and_each_public_one_says_what_it_does() -> None:
    dump = subprocess.run(
        [PROGRAMS / "just", "--dump", "--dump-format", "json"], cwd=ROOT, capture_output=True, check=True
    ).stdout
    recipes = json.loads(dump)["recipes"]
    assert {"up", "test", "build-image", "boot", "verify", "bench"} <= set(recipes)
    assert too_long({name: len(recipe["body"]) for name, recipe in recipes.items()}, RECIPE) == {}
    assert [name for name, recipe in recipes.items() if not recipe["private"] and not recipe["doc"]] == []


@pytest.mark.parametrize("folder", ["image", "policies"])
def test_a_folder_of_declarations_holds_no_python(folder: str) -> None:
    held = [path for path in tracked() if path.parts[0] == folder]
    assert held
    assert [path for path in held if path.suffix == ".py" or "python" in read(path).split("\n", 1)[0]] == []
