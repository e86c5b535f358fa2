# SPDX-License-Identifier: Apache-2.0
"""Programs that a device starts: udev runs them as root, and who gives the machine its devices chooses when.

A program that the image's rules name and the image does not hold starts nothing. Which others there may be
says the image's list (`mantlet.audit.checks.allow_list`); here are those that nobody should start so.
"""

from collections.abc import Iterator
from fnmatch import fnmatchcase

from mantlet.audit import udev
from mantlet.audit.checks.programs import INTERPRETERS
from mantlet.audit.finding import Finding, Policy, Remedy, Severity
from mantlet.audit.image import Image
from mantlet.audit.tree import Tree
from mantlet.audit.udev import Run

RULE = "device-programs"
# Folders of / where a running system writes: a program there is whoever's.
_WRITTEN = frozenset({"dev", "home", "media", "mnt", "root", "run", "srv", "tmp", "var"})
_finding = Remedy(
    "remove the rules, or mask their file by a link to /dev/null of the same name in /etc/udev/rules.d"
).finding


def device_programs(image: Image, policy: Policy) -> Iterator[Finding]:
    """No device starts a shell, an interpreter, or a program that the image does not name."""
    for tree in image.trees:
        for run in udev.runs(tree):
            severity, found = _opened(tree, run)
            if found:
                subject = f"{tree.subject(run.rules)} {run.program}"
                yield _finding(RULE, severity, subject, "a program that runs no text of others", found)


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
