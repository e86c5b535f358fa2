# SPDX-License-Identifier: Apache-2.0
"""Documents against reality: what they show is what there is, and where they point something stands."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mantlet.cli import VERBS
from mantlet_measure.words import agent_words
from tests.house.tree import PROGRAMS, ROOT, read, tracked

DOCUMENTS = [path for path in tracked() if path.suffix == ".md"]
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def block(name: str) -> str:
    """Return the fenced text of README.md between `<!-- begin: name -->` and `<!-- end: name -->`."""
    found = re.search(
        rf"<!-- begin: {re.escape(name)} -->\n```\w*\n(.*?)```\n<!-- end: {re.escape(name)} -->",
        README,
        re.DOTALL,
    )
    assert found, f"README.md has no block {name!r}"
    return found[1]


README = read("README.md")


def words_after(program: str) -> Iterator[str]:
    """Yield the word that follows `program` wherever a line of a code block starts with it."""
    for path in DOCUMENTS:
        for fenced in FENCE.findall(read(path)):
            for line in fenced.splitlines():
                if line.removeprefix("$ ").startswith(f"{program} "):
                    yield line.removeprefix("$ ").split()[len(program.split())]


def slug(heading: str) -> str:
    """Name the anchor of a heading, as GitHub and its kin do."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def headings(path: Path) -> set[str]:
    """Name the anchors of a document."""
    return {slug(heading) for heading in re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.MULTILINE)}


def test_the_help_in_the_readme_is_what_the_program_prints() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mantlet", "--help"],
        env={"COLUMNS": "80", "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'agent/src'}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert block("mantlet --help") == done.stdout


def test_the_recipes_in_the_readme_are_what_just_prints() -> None:
    done = subprocess.run(
        [PROGRAMS / "just", "--list", "--unsorted"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert block("just --list") == done.stdout


def test_each_recipe_and_verb_that_a_document_calls_exists() -> None:
    recipes = set(re.findall(r"^([a-z][a-z-]*)(?: \*\w+)?:(?!=)", read("Justfile"), re.MULTILINE))
    called = {*words_after("scripts/just"), *words_after("just")}
    assert {"up", "test"} <= called
    assert called - {"--list"} <= recipes
    verbs = {*words_after("mantlet"), *words_after(".venv/bin/mantlet")}
    assert verbs - {"--help"} <= {verb.name for verb in VERBS}


def test_the_folders_in_the_readme_are_the_folders_of_the_tree() -> None:
    shown = {line.split()[0].rstrip("/") for line in block("tree").splitlines() if line.strip()}
    held = {path.parts[0] for path in tracked() if len(path.parts) > 1 and not path.parts[0].startswith(".")}
    assert shown == held | {name for name in shown if "/" in name and (ROOT / name).is_dir()}


@pytest.mark.parametrize("path", DOCUMENTS, ids=str)
def test_each_link_of_a_document_leads_somewhere(path: Path) -> None:
    prose = FENCE.sub("", read(path))
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        aim = ROOT / path.parent / name if name else ROOT / path
        anchors = {anchor} if not anchor or not aim.is_file() else headings(aim)
        if not aim.exists() or anchor not in anchors:
            dead.append(target)
    assert dead == []


def test_the_words_in_the_formats_are_the_words_of_the_agent() -> None:
    rows = re.findall(r"^\| \d+ \| ([a-z]+) \| `([^`]+)` \|$", read("docs/formats.md"), re.MULTILINE)
    digests = {"deployment": bytes([1]) * 32, "runtime": bytes([2]) * 32, "weights": bytes([3]) * 32}
    written = tuple(
        (event, word if "<" not in word else word.split("<")[0] + digests[event].hex())
        for event, word in rows
    )
    assert written == agent_words(
        deployment_sha256=digests["deployment"],
        runtime_sha256=digests["runtime"],
        root_hash=digests["weights"],
        capped=True,
    )


def test_each_decision_is_in_the_index_and_has_the_parts_of_one() -> None:
    decisions = [path for path in DOCUMENTS if path.parent == Path("docs/adr") and path.name != "README.md"]
    assert len(decisions) >= 5
    index = read("docs/adr/README.md")
    for number, path in enumerate(decisions, 1):
        assert path.name.startswith(f"{number:04d}-"), path
        assert f"({path.name})" in index, path
        parts = re.findall(r"^## (.*)$", read(path), re.MULTILINE)
        assert parts == ["Context", "Options", "Decision", "Consequences"], path
        assert len(read(path).splitlines()) <= 60, path


def test_the_changelog_says_what_each_version_moves() -> None:
    sections = re.split(r"^## ", read("CHANGELOG.md"), flags=re.MULTILINE)[1:]
    assert sections
    for section in sections:
        assert re.match(r"\[(Unreleased|\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2})", section), section
        assert "### Measured" in section, section
