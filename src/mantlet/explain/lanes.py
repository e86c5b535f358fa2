# SPDX-License-Identifier: Apache-2.0
"""The picture of an explanation: a lane a register, events as boxes, expected above observed.

Owns the geometry and the words of each box, all lengths in pixels of the SVG. How boxes look is the
template's matter. A long run of equal events is drawn as one box, so that a difference is never off the page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mantlet.explain.account import Entry
from mantlet.explain.align import Change
from mantlet.explain.explanation import Explanation
from mantlet.explain.registers import Outcome, Pair, RegisterResult
from mantlet.explain.subject import Kind

_BOX = 104
_STEP = 112
_LEFT = 84
_TEXT = 15
_AROUND = 2
_FEW = 6
_SHORT: Mapping[Kind, str] = {
    Kind.ACTION: "action",
    Kind.SEPARATOR: "separator",
    Kind.APPLICATION: "EFI image",
    Kind.AUTHORITY: "db entry",
    Kind.PARTITIONS: "partitions",
    Kind.LOAD_OPTIONS: "cmdline",
    Kind.INITRD: "initrd",
    Kind.COMMAND_LINE: "cmdline",
    Kind.CONFEXTS: "confexts",
    Kind.SYSEXTS: "sysexts",
    Kind.SMBIOS: "SMBIOS",
}
_MARKS: Mapping[Change, str] = {
    Change.SAME: "",
    Change.ALTERED: "≠",
    Change.MISSING: "−",
    Change.EXTRA: "+",
    Change.MOVED: "⇄",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """One event of one side, or a run of equal ones; `words` is the whole story, for the title."""

    x: int
    change: Change
    label: str
    sub: str
    words: str
    width: int = _BOX


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One register: its two rows of boxes, the columns where they part, and its two values."""

    result: RegisterResult
    width: int
    expected: tuple[Box, ...]
    observed: tuple[Box, ...]
    links: tuple[tuple[int, Change], ...]

    @property
    def drawn(self) -> bool:
        """Whether there are events to draw."""
        return bool(self.expected or self.observed)


def lanes(explanation: Explanation) -> tuple[Lane, ...]:
    """Return the lanes of all registers, those that differ first."""
    order = {Outcome.DIFFERS: 0, Outcome.EQUAL: 1, Outcome.NOT_COMPARED: 2}
    return tuple(
        _lane(result) for result in sorted(explanation.results, key=lambda item: order[item.outcome])
    )


def _lane(result: RegisterResult) -> Lane:
    if not result.pairs:
        return _values_only(result)
    expected: list[Box] = []
    observed: list[Box] = []
    links: list[tuple[int, Change]] = []
    x = _LEFT
    for run in _runs(result.pairs):
        if len(run) > 1:
            box = _run_box(x, [pair.entry for pair in run], "equal")
            expected.append(box)
            observed.append(box)
        else:
            (pair,) = run
            if pair.expected is not None:
                expected.append(_box(x, pair.change, pair.expected))
            if pair.observed is not None:
                observed.append(_box(x, pair.change, pair.observed))
        links.append((x + _BOX // 2, run[0].change))
        x += _STEP
    return Lane(
        result=result, width=x + 8, expected=tuple(expected), observed=tuple(observed), links=tuple(links)
    )


def _values_only(result: RegisterResult) -> Lane:
    """Draw the expected events above one box for a value that nobody has the events of."""
    told = result.told
    boxes = [_box(_LEFT + index * _STEP, Change.SAME, entry) for index, entry in enumerate(told[:_FEW])]
    if len(told) > _FEW:
        boxes.append(_run_box(_LEFT + _FEW * _STEP, told[_FEW:], "and so on"))
    width = max(1, len(boxes)) * _STEP - (_STEP - _BOX)
    differs = result.outcome is Outcome.DIFFERS
    value = next(iter(result.observed.values()), b"").hex()
    below = Box(
        x=_LEFT,
        width=width,
        change=Change.ALTERED if differs else Change.SAME,
        label="value only" if value else "not observed",
        sub=f"{_MARKS[Change.ALTERED]} differs" if differs else str(result.outcome),
        words=f"{result.outcome}: the value {value or 'is not known'}; its events are not known",
    )
    return Lane(
        result=result,
        width=_LEFT + width + 8,
        expected=tuple(boxes),
        observed=(below,) if boxes else (),
        links=(),
    )


def _runs(pairs: Sequence[Pair]) -> list[tuple[Pair, ...]]:
    """Fold equal events that are far from any difference into runs; a short lane is drawn whole."""
    if len(pairs) <= _FEW:
        return [(pair,) for pair in pairs]
    changed = [index for index, pair in enumerate(pairs) if pair.change is not Change.SAME]
    near = {index + offset for index in changed for offset in range(-_AROUND, _AROUND + 1)} | {
        0,
        len(pairs) - 1,
    }
    runs: list[tuple[Pair, ...]] = []
    far: list[Pair] = []
    for index, pair in enumerate(pairs):
        if index in near:
            runs += [tuple(far)] if far else []
            far = []
            runs.append((pair,))
        else:
            far.append(pair)
    return runs


def _run_box(x: int, run: Sequence[Entry], sub: str) -> Box:
    names = ", ".join(entry.subject.words for entry in run)
    return Box(x=x, change=Change.SAME, label=f"{len(run)} events", sub=sub, words=f"{sub}: {names}")


def _box(x: int, change: Change, entry: Entry) -> Box:
    digest = next(iter(entry.digests.values())).hex()
    return Box(
        x=x,
        change=change,
        label=_label(entry),
        sub=digest[:10] if change is Change.SAME else f"{_MARKS[change]} {change}",
        words=f"{change}: {entry.subject.words}; {entry.type}; {digest}",
    )


def _label(entry: Entry) -> str:
    subject = entry.subject
    text = _SHORT.get(subject.kind) or subject.name or subject.kind.value
    if subject.kind is Kind.SECTION_NAME:
        text = f"name {subject.name}"
    if subject.kind is Kind.AGENT_WORD:
        text = subject.name.split(":")[1]
    return text if len(text) <= _TEXT else f"{text[: _TEXT - 1]}…"
