# SPDX-License-Identifier: Apache-2.0
"""What an image holds, compared with the lists of what it may hold, both ways.

The other checks know what is dangerous; this one knows what is ours, and so finds what nobody thought of.
Paths are those of real files, without links; modules go by the kernel's name for them, accounts by theirs.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType

from mantlet.audit import udev, units
from mantlet.audit.allowed import Part
from mantlet.audit.checks import kernel_settings
from mantlet.audit.checks.modules import modules
from mantlet.audit.checks.programs import INTERPRETERS, capable, scripted
from mantlet.audit.checks.started import generator_files
from mantlet.audit.finding import Finding, Policy, Severity
from mantlet.audit.image import Image
from mantlet.audit.tree import Tree

RULE = "allow-list"
_ELF = b"\x7fELF"


def allow_list(image: Image, policy: Policy) -> Iterator[Finding]:
    """The image holds what its lists say, and nothing else (images without lists have no findings)."""
    held: dict[tuple[Part, str], set[str]] = {
        (Part.ESP, ""): {path.lstrip("/") for path in image.esp},
        (Part.UKI_SECTIONS, ""): {name for kernel in image.kernels for name in kernel.sections},
    }
    for tree in image.trees:
        for part, look in _LOOKS.items():
            held[part, tree.name] = set(look(tree))
    for (part, tree_name), allowed in policy.allowed.lists.items():
        where = f"{tree_name}:" if tree_name else ""
        found = held.get((part, tree_name), set())
        for name in sorted(found):
            if not any(fnmatchcase(name, pattern) for pattern in allowed):
                yield _finding(f"{where}{part} {name}", Severity.MEDIUM, "nothing beside the list", "it")
        for pattern in allowed:
            if not any(fnmatchcase(name, pattern) for name in found):
                yield _finding(f"{where}{part} {pattern}", Severity.LOW, "what the list names", "none")


def _elf(tree: Tree) -> Iterator[str]:
    kernel_modules = {path for path, _, _ in modules(tree)}
    for path, node in tree.nodes.items():
        if node.is_file and path not in kernel_modules and node.content(len(_ELF)) == _ELF:
            yield path


def _interpreters(tree: Tree) -> Iterator[str]:
    for name, paths in tree.by_name.items():
        if any(fnmatchcase(name, pattern) for pattern in INTERPRETERS):
            yield from (path for path in paths if tree.nodes[path].is_program)


def _units(tree: Tree) -> Iterator[str]:
    # Masked ones too: a mask is something that the image holds.
    yield from units.of(tree).files


def _sockets(tree: Tree) -> Iterator[str]:
    yield from (name for name in units.of(tree).present() if name.endswith(".socket"))


def _modules(tree: Tree) -> Iterator[str]:
    yield from (match["name"].replace("-", "_") for _, _, match in modules(tree))


def _names(path: str) -> Callable[[Tree], Iterator[str]]:
    def look(tree: Tree) -> Iterator[str]:
        for line in tree.text(path).splitlines():
            if line and not line.startswith("#"):
                yield line.split(":", 1)[0]

    return look


def _sysctls(tree: Tree) -> Iterator[str]:
    yield from (f"{name} = {value}".rstrip() for name, value in kernel_settings.of_folder(tree).items())


_LOOKS: Mapping[Part, Callable[[Tree], Iterable[str]]] = MappingProxyType(
    {
        Part.ELF: _elf,
        Part.INTERPRETERS: _interpreters,
        Part.SCRIPTS: scripted,
        Part.UNITS: _units,
        Part.GENERATORS: generator_files,
        Part.SOCKETS: _sockets,
        Part.MODULES: _modules,
        Part.USERS: _names("/etc/passwd"),
        Part.GROUPS: _names("/etc/group"),
        Part.CAPABILITIES: capable,
        Part.SYSCTLS: _sysctls,
        Part.DEVICES: udev.programs,
    }
)


def _finding(subject: str, severity: Severity, expected: str, found: str) -> Finding:
    return Finding(
        rule=RULE,
        severity=severity,
        subject=subject,
        expected=expected,
        found=found,
        hint="take it out of the image, or look at it and add it to the image's list in policies/allowed",
    )
