# SPDX-License-Identifier: Apache-2.0
"""Programs that a device starts: udev runs them as root, and who gives the machine its devices chooses when.

So are those of units that rules have a device want, whose programs PID 1 runs. A program or unit that the
image's rules name and the image does not hold starts nothing. Which others there may be say the image's lists
(`mantlet.audit.checks.allow_list`, and `started` for units); here are those that nobody should start so.
"""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase

from mantlet.audit import udev, units, wanted
from mantlet.audit.checks.programs import INTERPRETERS
from mantlet.audit.finding import Finding, Policy, Remedy, Severity
from mantlet.audit.image import Image
from mantlet.audit.tree import Tree
from mantlet.audit.udev import Run

RULE = "device-programs"
# Folders of / where a running system writes: a program there is whoever's.
_WRITTEN = frozenset({"dev", "home", "media", "mnt", "root", "run", "srv", "tmp", "var"})
# systemd.service(5), systemd.socket(5), systemd.mount(5): what runs a program, and how it may begin.
_EXECUTING = re.compile(r"Exec(Condition|Reload|Start(Pre|Post)?|Stop(Pre|Post)?)")
_PROGRAM = re.compile(r"""[-@:+!|]*(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<plain>\S+))""")
# systemd.exec(5), ExecSearchPath: where a program lies that is named without a path.
_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin")
_EXPECTED = "a program that runs no text of others"
_finding = Remedy(
    "remove the rules, or mask their file by a link to /dev/null of the same name in /etc/udev/rules.d"
).finding


def device_programs(image: Image, policy: Policy) -> Iterator[Finding]:
    """No device starts a shell, an interpreter, or what the image does not name."""
    for tree in image.trees:
        for run in udev.runs(tree):
            severity, found = _opened(tree, run)
            if found:
                yield _finding(RULE, severity, f"{tree.subject(run.rules)} {run.program}", _EXPECTED, found)
        for want in udev.wants(tree):
            if not want.known:
                subject = f"{tree.subject(want.rules)} {want.unit}"
                found = "one that a device names"
                yield _finding(RULE, Severity.MEDIUM, subject, "a unit of the image", found)
        for unit, run in _executed(tree):
            severity, found = _opened(tree, run)
            if found:
                subject = f"{tree.subject(run.rules)} {unit} {run.program}"
                yield _finding(RULE, severity, subject, _EXPECTED, found)


def _executed(tree: Tree) -> Iterator[tuple[str, Run]]:
    """Yield the units that devices start, and each program of theirs as if the rules ran it."""
    found = units.of(tree)
    for unit, rules in wanted.by_devices(found).items():
        for setting in found.settings(unit):
            match = _PROGRAM.match(setting.value)
            if match is not None and _EXECUTING.fullmatch(setting.name):
                name = match["double"] or match["single"] or match["plain"] or ""
                # systemd.unit(5), Specifiers: what of a device's instance is in it is the device's word.
                yield unit, Run(rules=rules, program=_placed(tree, name), known="%" not in name)


def _placed(tree: Tree, program: str) -> str:
    if program.startswith("/"):
        return program
    places = [f"{folder}/{program}" for folder in _PATH]
    return next((place for place in places if tree.node(place) is not None), places[-1])


def _opened(tree: Tree, run: Run) -> tuple[Severity, str]:
    """Say how much a program opens, and what it is; nothing for one that opens nothing."""
    if not run.known:
        return Severity.MEDIUM, "one that a device names"
    if run.program.split("/")[1] in _WRITTEN:
        return Severity.HIGH, "one in a place that is written while the system runs"
    path = tree.resolve(run.program)
    node = None if path is None else tree.nodes.get(path)
    if path is None or node is None or not node.is_program:
        return Severity.LOW, ""
    names = {name.rsplit("/", 1)[1] for name in (run.program, path)}
    if any(fnmatchcase(name, pattern) for name in names for pattern in INTERPRETERS):
        return Severity.HIGH, f"{path}, a shell or an interpreter"
    if node.content(2) == b"#!":
        return Severity.MEDIUM, "a script"
    return Severity.LOW, ""
