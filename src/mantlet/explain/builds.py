# SPDX-License-Identifier: Apache-2.0
"""Two builds compared: which registers moved, and because of what.

Owns the comparison of everything that a build folder tells, and the lines that go under the *Measured*
heading of the changelog. A register's move is explained from its events; packages, units and the kernel are
named beside it, as what may be behind a section that differs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mantlet.explain import cmdline, inventory
from mantlet.explain.account import Account
from mantlet.explain.align import Change
from mantlet.explain.explanation import Explanation, explain, to_value
from mantlet.explain.inventory import Inventory, Item
from mantlet.explain.registers import Outcome, title

_LINES = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """What is known of a build. Everything but the account is None where the folder does not have it.

    kernel: what .uname says; uki_size: bytes.
    """

    account: Account
    packages: Inventory | None = None
    units: Inventory | None = None
    kernel: str | None = None
    uki_size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A property of the builds that differs."""

    name: str
    old: str
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildDifference:
    """What moved between two builds; `unknown` names what could not be compared."""

    explanation: Explanation
    facts: tuple[Fact, ...]
    command_line: tuple[str, ...]
    packages: tuple[Item, ...]
    units: tuple[Item, ...]
    unknown: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether no register moved and nothing that is known differs."""
        return self.explanation.equal and not (self.facts or self.command_line or self.packages or self.units)


def difference(old: Build, new: Build) -> BuildDifference:
    """Compare two builds. MantletError when their manifests have no bank or register in common."""
    unknown = [
        f"{name}: not in both folders"
        for name, sides in (
            ("packages", (old.packages, new.packages)),
            ("units", (old.units, new.units)),
            ("kernel version and size of the UKI", (old.uki_size, new.uki_size)),
        )
        if None in sides
    ]
    before, after = old.account.image, new.account.image
    return BuildDifference(
        explanation=explain(old.account, new.account),
        facts=tuple(_facts(old, new)),
        command_line=()
        if before is None or after is None
        else cmdline.difference(_without_root_hash(before.cmdline), _without_root_hash(after.cmdline)),
        packages=_items(old.packages, new.packages),
        units=_items(old.units, new.units),
        unknown=tuple(unknown),
    )


def _without_root_hash(text: str) -> str:
    """The root hash is a fact of its own: as a word it would hide the others."""
    return " ".join(word for word in cmdline.words(text) if not word.startswith("roothash="))


def _items(old: Inventory | None, new: Inventory | None) -> tuple[Item, ...]:
    return () if old is None or new is None else inventory.difference(old, new)


def _facts(old: Build, new: Build) -> Iterator[Fact]:
    before, after = old.account.image, new.account.image
    if before is not None and after is not None:
        for name, was, now in (
            ("version", before.version, after.version),
            ("stub", before.stub, after.stub),
            ("root hash", before.roothash.hex(), after.roothash.hex()),
            ("UKI", before.uki_sha256.hex(), after.uki_sha256.hex()),
        ):
            if was != now:
                yield Fact(name=name, old=was, new=now)
    if old.kernel is not None and new.kernel is not None and old.kernel != new.kernel:
        yield Fact(name="kernel", old=old.kernel, new=new.kernel)
    if old.uki_size is not None and new.uki_size is not None and old.uki_size != new.uki_size:
        yield Fact(name="UKI size", old=f"{old.uki_size} bytes", new=f"{new.uki_size} bytes")


def difference_to_value(found: BuildDifference) -> Mapping[str, object]:
    """Return the comparison as JSON."""
    return {
        "equal": found.equal,
        "facts": [{"name": fact.name, "old": fact.old, "new": fact.new} for fact in found.facts],
        "command_line": list(found.command_line),
        "packages": [_item_value(item) for item in found.packages],
        "units": [_item_value(item) for item in found.units],
        "unknown": list(found.unknown),
        "registers": to_value(found.explanation),
    }


def _item_value(item: Item) -> Mapping[str, str]:
    return {
        "place": item.place,
        "name": item.name,
        "change": {Change.EXTRA: "added", Change.MISSING: "removed"}.get(item.change, "changed"),
        "old": item.old,
        "new": item.new,
    }


def changelog(found: BuildDifference) -> Iterator[str]:
    """Yield the Markdown lines for the heading *Measured*: which registers moved, and why."""
    moved = found.explanation.of(Outcome.DIFFERS)
    if not moved:
        yield "- No register moved: reference values and approvals of the release before stay good."
        return
    for finding in found.explanation.findings:
        registers = _registers(sorted(finding.registers))
        yield f"- {registers}: {_markdown(finding.headline)}."
        yield from (f"  - {_markdown(detail)}" for detail in finding.details[:_LINES])
    behind = [
        *_summary("kernel", found),
        *_named("packages", found.packages),
        *_named("units", found.units),
    ]
    if behind:
        yield f"- Behind it: {'; '.join(behind)}."


def _registers(numbers: list[int]) -> str:
    named = [f"{number} ({title(number)})" for number in numbers]
    if len(named) == 1:
        return f"Register {named[0]}"
    return f"Registers {', '.join(named[:-1])} and {named[-1]}"


def _summary(name: str, found: BuildDifference) -> list[str]:
    return [f"{fact.name} {fact.old} became {fact.new}" for fact in found.facts if fact.name == name]


def _named(kind: str, items: tuple[Item, ...]) -> list[str]:
    by_change = {
        change: sorted({item.name for item in items if item.change is change})
        for change in (Change.EXTRA, Change.MISSING, Change.ALTERED)
    }
    verbs = {Change.EXTRA: "added", Change.MISSING: "removed", Change.ALTERED: "changed"}
    return [
        f"{kind} {verbs[change]}: {', '.join(names[:_LINES])}"
        + (f" and {len(names) - _LINES} more" if len(names) > _LINES else "")
        for change, names in by_change.items()
        if names
    ]


def _markdown(text: str) -> str:
    """Keep text from a build from being read as Markdown links or HTML."""
    return "".join(f"\\{char}" if char in "<>[]*_|" and "`" not in text else char for char in text)
