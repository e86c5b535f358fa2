# SPDX-License-Identifier: Apache-2.0
"""Programs that udev's rules run when a device comes, changes or goes.

Follows udev(7), systemd 262: which file of a name counts, what masks it, `RUN`, `PROGRAM` and
`IMPORT{program}`; what is built into udev starts nothing. Conditions are not weighed, nor is `RUN=""`, which
takes back what other rules said: whoever gives the device chooses what holds of it. Of properties, what the
rules themselves set is followed; what a device or a program says is not known here.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mantlet.audit.tree import Tree

_FOLDER, _SUFFIX = "udev/rules.d", ".rules"
# udev(7), PROGRAM: where a program lies that is named without a path.
_HOMES = ("/usr/lib/udev", "/lib/udev")
_ITEM = re.compile(
    r'(?P<key>[A-Z_]+)(?:\{(?P<attribute>[^}]*)\})?\s*(?P<operator>==|!=|\+=|-=|:=|=)\s*[ei]*"(?P<value>(?:[^"\\]|\\.)*)"'
)
_RUNNING = frozenset({("RUN", ""), ("RUN", "program"), ("IMPORT", "program")})
_FIRST = re.compile(r"""\s*(?:'(?P<single>[^']*)'|\\"(?P<double>[^"\\]*)\\"|(?P<plain>\S+))""")
_PROPERTY = re.compile(r"\$env\{(?P<long>[^}]+)\}|%E\{(?P<short>[^}]+)\}")
_SUBSTITUTED = re.compile(r"[$%]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A program that a rule runs: the rule's file, the program by its path or as the rule names it.

    known: False where a device says which program it is.
    """

    rules: str
    program: str
    known: bool = True


def runs(tree: Tree) -> tuple[Run, ...]:
    """Return what the rules of a tree run, each program once a file, in the order of the files.

    The programs need not be there.
    """
    items = [
        (path, match)
        for path in tree.drop_ins(_FOLDER, _SUFFIX)
        for line in _lines(tree.text(path))
        for match in _ITEM.finditer(line)
    ]
    properties: dict[str, list[str]] = {}
    for _, match in items:
        if match["key"] == "ENV" and match["operator"] in ("=", "+=", ":="):
            properties.setdefault(match["attribute"] or "", []).append(match["value"])
    found = (
        Run(rules=path, program=_placed(tree, name) if known else name, known=known)
        for path, match in items
        if _is_running(match)
        for name, known in _named(match["value"], properties)
    )
    return tuple(dict.fromkeys(found))


def programs(tree: Tree) -> Iterator[str]:
    """Yield the real files of the tree that its rules run."""
    for run in runs(tree):
        path = tree.resolve(run.program)
        node = None if path is None else tree.nodes.get(path)
        if path is not None and node is not None and node.is_program:
            yield path


def _lines(text: str) -> Iterator[str]:
    """Join continued lines as udev does: comments between them are left out, and do not go on themselves."""
    joined = ""
    for line in text.splitlines():
        words = line.strip()
        if words.startswith("#"):
            continue
        joined += words.removesuffix("\\")
        if not words.endswith("\\"):
            yield joined
            joined = ""
    yield joined


def _is_running(match: re.Match[str]) -> bool:
    if match["operator"] == "-=":
        return False
    return match["key"] == "PROGRAM" or (match["key"], match["attribute"] or "") in _RUNNING


def _named(command: str, properties: Mapping[str, list[str]] | None) -> Iterator[tuple[str, bool]]:
    """Yield the program of a command, and whether the rules say which it is. properties: set by them."""
    first = _FIRST.match(command)
    if first is None:
        return
    program = first["single"] or first["double"] or first["plain"] or ""
    whole = _PROPERTY.fullmatch(program)
    if whole is not None and properties is not None:
        # One step: what comes from a second property is a device's word for all that is known here.
        for value in properties.get(whole["long"] or whole["short"], ()):
            yield from _named(value, None)
    else:
        yield program, _SUBSTITUTED.search(program) is None


def _placed(tree: Tree, program: str) -> str:
    if program.startswith("/"):
        return program
    places = [f"{home}/{program}" for home in _HOMES]
    return next((place for place in places if tree.node(place) is not None), places[0])
