# SPDX-License-Identifier: Apache-2.0
"""What no committed text may hold, and what each must."""

import ast
import re
from pathlib import Path

from tests.house.tree import python_files, read, text_files, tracked

LICENCE = "SPDX-License-Identifier: Apache-2.0"
# Files whose format has no comments, or whose text is another's.
WITHOUT_COMMENTS = {".json", ".md", ".pem", ".p7b"}
VERBATIM = {Path("LICENSE")}
THIS = Path("tests/house/test_text.py")

PURE = (
    "agent/src/mantlet_measure/",
    "src/mantlet/audit/",
    "src/mantlet/client/",
    "src/mantlet/explain/",
    "src/mantlet/predict/",
    "src/mantlet/release/",
    "src/mantlet/tpm/",
    "src/mantlet/verifier/",
    "src/mantlet/weights/",
)

HOSTS = re.compile(
    r"deb\.debian\.org|(security|snapshot|ftp)\.debian\.org|(archive|security|ports)\.ubuntu\.com"
    r"|pypi\.org|pythonhosted\.org|https?://\S*/(simple|debian|ubuntu)(/|\b)|--(extra-)?index-url|--find-links"
)
MACHINE_PATHS = re.compile(r"/(work|root|home/[a-z][a-z0-9_-]*|tmp/[a-z]+)/")
WORDS = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|\b(?i:golden|whitelist|blacklist|greylist)\b")
EMOJI = re.compile("[\U0001f000-\U0001faff\ufe0f]")
SUPPRESSION = re.compile(r"#\s*(?:noqa(?!: [A-Z]+[0-9]+)|type:\s*ignore(?!\[))")


def found(pattern: re.Pattern[str], *, skip: frozenset[Path] = frozenset()) -> list[str]:
    return [
        f"{path}:{number}: {line.strip()}"
        for path in text_files()
        if path not in VERBATIM | {THIS} | skip
        for number, line in enumerate(read(path).splitlines(), 1)
        if pattern.search(line)
    ]


def test_each_source_file_starts_with_its_licence() -> None:
    missing = []
    for path in text_files():
        if path in VERBATIM or path.suffix in WITHOUT_COMMENTS or not read(path).strip():
            continue
        first, *rest = read(path).splitlines()
        if LICENCE not in (rest[0] if first.startswith("#!") and rest else first):
            missing.append(str(path))
    assert missing == []


def test_no_file_names_a_mirror_or_a_registry() -> None:
    assert found(HOSTS) == []


def test_no_file_holds_a_path_of_somebodys_machine() -> None:
    assert found(MACHINE_PATHS) == []


def test_no_file_holds_a_word_that_the_house_does_not_use() -> None:
    assert found(WORDS) == []


def test_no_file_holds_an_emoji() -> None:
    assert found(EMOJI) == []


def test_each_suppression_names_what_it_suppresses() -> None:
    assert found(SUPPRESSION) == []


def test_no_module_is_called_after_nothing() -> None:
    nothing = {"util", "utils", "common", "helper", "helpers", "manager", "misc"}
    assert [path for path in tracked() if nothing & {part.removesuffix(".py") for part in path.parts}] == []


def test_each_module_says_in_its_docstring_what_it_owns() -> None:
    silent = [
        path
        for path in python_files()
        if read(path).strip() and ast.get_docstring(ast.parse(read(path))) is None
    ]
    assert silent == []


def test_the_pure_rooms_open_nothing_and_ask_no_clock() -> None:
    forbidden = {"open", "input", "print", "exec", "eval", "__import__"}
    clocks = {"now", "utcnow", "today"}
    calls = []
    for path in python_files(*PURE):
        for node in ast.walk(ast.parse(read(path))):
            match node:
                case ast.Call(func=ast.Name(id=name)) if name in forbidden:
                    calls.append(f"{path}:{node.lineno}: {name}()")
                case ast.Call(func=ast.Attribute(value=ast.Name(id="datetime" | "date"), attr=name)) if (
                    name in clocks
                ):
                    calls.append(f"{path}:{node.lineno}: {name}()")
    assert calls == []


def test_no_handler_catches_everything() -> None:
    wide = [
        f"{path}:{node.lineno}"
        for path in python_files("src/", "agent/")
        for node in ast.walk(ast.parse(read(path)))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id == "Exception"))
    ]
    assert wide == []
