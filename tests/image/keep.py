# SPDX-License-Identifier: Apache-2.0
"""The keep lists, read as `image/keep-only` reads them."""

import re
from collections.abc import Sequence

from mantlet.edge import project

# bash with globstar and extglob: the constructs that the lists use.
_GLOB = re.compile(r"\*\*|\*|@\((?P<choice>[^)]*)\)")


def lines(name: str) -> list[str]:
    """The lines of a keep list that are not comments; paths, `!` ones and folders."""
    text = (project.root() / f"image/keep/{name}.list").read_text("utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def pattern(line: str) -> re.Pattern[str]:
    """The paths that a line matches."""
    parts, end = [], 0
    for match in _GLOB.finditer(line):
        parts.append(re.escape(line[end : match.start()]))
        choice = match["choice"]
        star = ".*" if match[0] == "**" else "[^/]*"
        parts.append(star if choice is None else f"(?:{'|'.join(map(re.escape, choice.split('|')))})")
        end = match.end()
    return re.compile("".join((*parts, re.escape(line[end:]))).replace("/.*/", "/(?:.*/)?"))


def named(path: str, declared: Sequence[str]) -> bool:
    """Whether the lines keep this path: the last one that matches it says so."""
    verdict = False
    for line in declared:
        if pattern(line.removeprefix("!")).fullmatch(path):
            verdict = not line.startswith("!")
    return verdict
