# SPDX-License-Identifier: Apache-2.0
"""The built image against `policies/allowed/mantlet.yaml`: nothing more, and no idle line."""

import fnmatch
import re
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import yaml

from mantlet.edge import project
from mantlet.predict.pe import Image
from tests.image.conftest import Audit
from tests.image.unpacked import Tree

UNIT = re.compile(
    r"/systemd/system/(?:.*/)?([^/]+\.(?:service|socket|target|mount|automount|timer|path|slice|scope|swap))$"
)
# udev(7): what a rule runs; all of ours are named by their paths.
RUN = re.compile(r'(?:RUN(?:\{program\})?|PROGRAM|IMPORT\{program\})[=+:!]?="(/[^ "]+)')
MODULE = re.compile(r"/([^/]+)\.ko(?:\.xz)?$")


@pytest.fixture(scope="module")
def allowed() -> dict[str, Any]:
    loaded = yaml.safe_load((project.root() / "policies/allowed/mantlet.yaml").read_text("utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def files(tree: Tree, begins: bytes) -> set[str]:
    """The files that begin with these bytes."""
    regular = (path for path, entry in tree.entries.items() if entry.is_file)
    return {path for path in regular if tree.read(path).startswith(begins)}


def names(tree: Tree, pattern: re.Pattern[str]) -> set[str]:
    """What a pattern finds in the paths that are no folders."""
    return {match[1] for path in tree.below("") if (match := pattern.search(path))}


def accounts(tree: Tree, path: str) -> set[str]:
    return {line.partition(":")[0] for line in tree.text(path).splitlines()}


def settings(tree: Tree) -> set[str]:
    lines = (
        line
        for path in tree.below("/usr/lib/sysctl.d", "/etc/sysctl.d")
        for line in tree.text(path).splitlines()
    )
    return {" ".join(line.split()) for line in lines if line and not line.startswith("#")}


HELD: dict[str, Callable[[Tree], set[str]]] = {
    "capabilities": lambda tree: {path for path, entry in tree.entries.items() if entry.extended},
    "device-programs": lambda tree: {
        program
        for path in tree.below("/usr/lib/udev/rules.d", "/etc/udev/rules.d")
        for program in RUN.findall(tree.text(path))
        if program in tree.entries
    },
    "elf": lambda tree: files(tree, b"\x7fELF"),
    "generators": lambda tree: {path for path in tree.below("") if "-generators/" in path},
    "groups": lambda tree: accounts(tree, "/etc/group"),
    "interpreters": lambda tree: {
        path
        for path in files(tree, b"\x7fELF")
        if re.search(r"/(python|perl|lua|ruby|node|[a-z]*sh)[0-9.]*$", path)
    },
    "modules": lambda tree: {name.replace("-", "_") for name in names(tree, MODULE)},
    "scripts": lambda tree: files(tree, b"#!"),
    "sockets": lambda tree: {name for name in names(tree, UNIT) if name.endswith(".socket")},
    "sysctls": settings,
    "units": lambda tree: names(tree, UNIT),
    "users": lambda tree: accounts(tree, "/etc/passwd"),
}


def differences(held: Iterable[str], listed: list[str]) -> tuple[list[str], list[str]]:
    """What no line allows, and the lines that nothing needs."""
    held = sorted(held)
    strange = [name for name in held if not any(fnmatch.fnmatchcase(name, line) for line in listed)]
    return strange, [line for line in listed if not fnmatch.filter(held, line)]


def test_each_list_is_compared(allowed: dict[str, Any]) -> None:
    assert HELD.keys() | {"format", "image", "esp", "uki-sections"} == allowed.keys()


@pytest.mark.parametrize("kind", HELD)
def test_the_image_holds_what_the_list_allows_and_nothing_else(
    tree: Tree, allowed: dict[str, Any], kind: str
) -> None:
    assert differences(HELD[kind](tree), allowed[kind][tree.name]) == ([], [])


@pytest.mark.parametrize("kind", HELD)
def test_a_list_is_sorted_and_names_nothing_twice(allowed: dict[str, Any], kind: str) -> None:
    for listed in allowed[kind].values():
        assert listed == sorted(set(listed))


def test_the_sections_of_the_uki_are_the_allowed_ones(uki_image: Image, allowed: dict[str, Any]) -> None:
    assert sorted(item.name for item in uki_image.sections) == allowed["uki-sections"]


def test_the_files_of_the_esp_are_the_allowed_ones(audit: Audit, allowed: dict[str, Any]) -> None:
    table = audit.run("sfdisk", "--bytes", "--json", audit.path("disk.raw")).stdout
    (esp,) = [
        entry for entry in yaml.safe_load(table)["partitiontable"]["partitions"] if entry["name"] == "esp"
    ]
    at = f"{audit.path('disk.raw')}@@{esp['start'] * 512}"
    listed = audit.run("mdir", "-i", at, "-/", "-b", "::").stdout.decode().split()
    assert sorted(name[3:] for name in listed if not name.endswith("/")) == allowed["esp"]
