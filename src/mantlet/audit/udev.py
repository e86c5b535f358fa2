# SPDX-License-Identifier: Apache-2.0
"""Programs that udev's rules run when a device comes, changes or goes, and units that they have it want.

Follows udev(7), systemd 262: which file of a name counts, what masks it, `RUN`, `PROGRAM` and
`IMPORT{program}`; what is built into udev starts nothing. For units, systemd.device(5): `SYSTEMD_WANTS` and
`SYSTEMD_USER_WANTS`. Conditions are not weighed, nor is the tag `systemd`, nor `RUN=""`, which takes back
what other rules said: whoever gives the device chooses what holds of it. Of properties, what the rules
themselves set is followed; what a device or a program says is not known here, nor what udev reads from
files, from the hardware database or from the command line.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mantlet.audit.tree import Tree
from mantlet.audit.units import KINDS

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
# udev(7): `:=` is `=` for a property, and `-=` has no meaning.
_SETTING = frozenset({"=", "+=", ":="})
_WANTS, _USER_WANTS = "SYSTEMD_WANTS", "SYSTEMD_USER_WANTS"
_INSTANCE = re.compile(r"(?P<stem>[^@$%]+)@(?P<instance>.*?)(?:\.(?P<kind>[a-z]+))?")
# What the kernel names, in one word. Other words are a device's, and udev leaves the spaces in them.
_KERNELS = re.compile(r"\$(?:kernel|number|devpath|id|driver|major|minor|name|devnode)|%[knpbMmN]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A program that a rule runs: the rule's file, the program by its path or as the rule names it.

    known: False where a device says which program it is.
    """

    rules: str
    program: str
    known: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """A unit that a rule has a device want: the rule's file, and the unit by its full name.

    A template stands for each of its instances. known: False where a device says which unit it is, or which
    others beside it. user: whether a user's manager starts it, and not the system's.
    """

    rules: str
    unit: str
    known: bool = True
    user: bool = False


def runs(tree: Tree) -> tuple[Run, ...]:
    """Return what the rules of a tree run, each program once a file, in the order of the files.

    The programs need not be there.
    """
    items = _items(tree)
    properties = _properties(items)
    found = (
        Run(rules=path, program=_placed(tree, name) if known else name, known=known)
        for path, match in items
        if _is_running(match)
        for name, known in _named(match["value"], properties)
    )
    return tuple(dict.fromkeys(found))


def wants(tree: Tree) -> tuple[Want, ...]:
    """Return what the rules of a tree have devices want, each unit once a file, in the order of the files.

    The units need not be there.
    """
    items = _items(tree)
    properties = _properties(items)
    found = (
        Want(rules=path, unit=unit, known=known, user=match["attribute"] == _USER_WANTS)
        for path, match in items
        if _is_setting(match) and match["attribute"] in (_WANTS, _USER_WANTS)
        for unit, known in _wanted(match["value"], properties)
    )
    return tuple(dict.fromkeys(found))


def programs(tree: Tree) -> Iterator[str]:
    """Yield the real files of the tree that its rules run."""
    for run in runs(tree):
        path = tree.resolve(run.program)
        node = None if path is None else tree.nodes.get(path)
        if path is not None and node is not None and node.is_program:
            yield path


def _items(tree: Tree) -> list[tuple[str, re.Match[str]]]:
    return [
        (path, match)
        for path in tree.drop_ins(_FOLDER, _SUFFIX)
        for line in _lines(tree.text(path))
        for match in _ITEM.finditer(line)
    ]


def _properties(items: list[tuple[str, re.Match[str]]]) -> dict[str, list[str]]:
    """Return the values that rules set, by property."""
    found: dict[str, list[str]] = {}
    for _, match in items:
        if _is_setting(match):
            found.setdefault(match["attribute"] or "", []).append(match["value"])
    return found


def _is_setting(match: re.Match[str]) -> bool:
    return match["key"] == "ENV" and match["operator"] in _SETTING


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


def _wanted(value: str, properties: Mapping[str, list[str]]) -> Iterator[tuple[str, bool]]:
    """Yield the units of a property's value, and whether the rules say which they are."""
    waiting, seen = [value], set[str]()
    while waiting:
        # Quotes go; what they hold together has spaces, and is no unit's name.
        for word in waiting.pop().replace('\\"', "").replace("'", "").split():
            whole = _PROPERTY.fullmatch(word)
            if whole is None:
                yield from _unit(word)
                continue
            name = whole["long"] or whole["short"]
            if name not in properties:
                yield word, False
            elif name not in seen:
                seen.add(name)
                waiting += properties[name]


def _unit(word: str) -> Iterator[tuple[str, bool]]:
    """Yield the unit that a word means, as a template where a device is its instance."""
    if _SUBSTITUTED.search(word) is None:
        yield _full(word), True
        return
    match = _INSTANCE.fullmatch(word)
    if match is not None:
        yield f"{match['stem']}@.{match['kind'] if match['kind'] in KINDS else 'service'}", True
    if match is None or _SUBSTITUTED.search(_KERNELS.sub("", match["instance"])):
        yield word, False


def _full(word: str) -> str:
    """Complete a name as PID 1 does (systemd, src/basic/unit-name.c, unit_name_mangle_with_suffix)."""
    if word.rpartition(".")[2] in (*KINDS, "device", "scope"):
        return word
    if word.startswith("/"):
        return word.strip("/").replace("-", "\\x2d").replace("/", "-") + ".mount"
    return f"{word}.service"


def _placed(tree: Tree, program: str) -> str:
    if program.startswith("/"):
        return program
    places = [f"{home}/{program}" for home in _HOMES]
    return next((place for place in places if tree.node(place) is not None), places[0])
