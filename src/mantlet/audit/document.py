# SPDX-License-Identifier: Apache-2.0
"""The rules of operator access as a document (docs/operator-access.md).

Owns the words and the tables around the rules. It says nothing of an image or a machine that was looked at.
"""

from collections.abc import Iterator, Sequence

from mantlet.audit.rules import Group, OperatorAccess, Rule, RuleClass

_INTRODUCTION = """# Operator access

Written from [`policies/operator-access.yaml`](../policies/operator-access.yaml) by
`python -m mantlet.cli.operator_access --write`, never by hand.

Each row is a way in: by login, by what a machine is started with, by its disks, its network or its TPM, or
from inside a runtime that was taken over. *Check* is the check of a built image that finds it open; *attack*
names the attempt on a running machine, of which some are made by the tests in [`tests/vm`](../tests/vm);
*registers* are those that would show it. In bold: what is promised and not yet kept. A dash: no check reaches
it, no attempt is named for it, or no register shows it."""


def markdown(access: OperatorAccess) -> str:
    """Return the whole document."""
    parts = [
        _INTRODUCTION,
        "\n".join(_summary(access.rules)),
        "## Not yet closed",
        "\n".join(_open(access.rules)),
        "## What is not claimed",
        "\n".join(_limits(access.rules)),
    ]
    for group in access.groups:
        parts += [f"## {group.title}", "\n".join(_table(group))]
    return "\n\n".join(parts) + "\n"


def _summary(rules: Sequence[Rule]) -> Iterator[str]:
    yield "| class | rules | what it says |"
    yield "|---|---|---|"
    for kind in RuleClass:
        yield f"| {kind} | {sum(rule.kind is kind for rule in rules)} | {kind.meaning} |"
    yield f"| all | {len(rules)} | {sum(rule.open for rule in rules)} of them not yet closed |"


def _open(rules: Sequence[Rule]) -> Iterator[str]:
    yield from (
        f"- {rule.id}, {rule.title}. {rule.closure.how}" for rule in rules if rule.closure and rule.open
    )


def _limits(rules: Sequence[Rule]) -> Iterator[str]:
    yield from (f"- {rule.id}, {rule.title}. {rule.not_claimed}" for rule in rules if rule.not_claimed)


def _table(group: Group) -> Iterator[str]:
    yield "| id | way in | class | what closes it | where | check | attack | registers | source |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for rule in group.rules:
        yield f"| {' | '.join(_cells(rule))} |"


def _cells(rule: Rule) -> Iterator[str]:
    yield f"{rule.id}, {rule.channel}" if rule.channel else rule.id
    yield f"{rule.title}. {rule.mechanism}"
    yield f"**{rule.kind}, open**" if rule.open else rule.kind
    if rule.closure:
        yield rule.closure.how
        yield ", ".join(f"[{_short(file)}](../{file})" for file in rule.closure.files)
    else:
        yield rule.not_claimed or "–"
        yield "–"
    yield _code(rule.static)
    yield _code(rule.attack)
    yield ", ".join(map(str, rule.registers)) or "–"
    yield rule.source


def _short(file: str) -> str:
    # Drop-ins share a name; their folder tells them apart.
    folder, _, name = file.rpartition("/")
    return f"{folder.rpartition('/')[2]}/{name}" if name == "50-mantlet.conf" else name


def _code(name: str | None) -> str:
    return f"`{name}`" if name else "–"
