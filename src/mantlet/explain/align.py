# SPDX-License-Identifier: Apache-2.0
"""Two lists of events laid beside each other: what is the same, altered, missing, extra, moved.

Compares digests only. Runs in n·log n whatever the lists hold: a log may be made to be slow to read.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import count, pairwise
from operator import itemgetter


class Change(StrEnum):
    """What became of an expected event, or where an observed one comes from."""

    SAME = "same"
    ALTERED = "altered"
    MISSING = "missing"
    EXTRA = "extra"
    MOVED = "moved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """Indices of an expected and an observed event that belong together; None where a side has none."""

    change: Change
    expected: int | None
    observed: int | None


def align(
    expected: Sequence[Hashable], observed: Sequence[Hashable], *, alike: Callable[[int, int], bool]
) -> tuple[Slot, ...]:
    """Align two lists of digests, in the order of the observed one.

    alike(i, j) says whether expected[i] and observed[j] are about the same thing, so that one can be called
    an alteration of the other.
    """
    pairs = _pairs(expected, observed)
    kept = _longest_rising(pairs)
    anchors = {left for left, _ in kept}
    moved = sorted((pair for pair in pairs if pair[0] not in anchors), key=itemgetter(1))
    taken = {left for left, _ in pairs}
    taken_observed = {right for _, right in pairs}
    slots: list[Slot] = []
    for (left, right), (next_left, next_right) in pairwise(((-1, -1), *kept, (len(expected), len(observed)))):
        if left >= 0:
            slots.append(Slot(change=Change.SAME, expected=left, observed=right))
        lost = [index for index in range(left + 1, next_left) if index not in taken]
        new = [index for index in range(right + 1, next_right) if index not in taken_observed]
        start, end = (bisect_left(moved, edge, key=itemgetter(1)) for edge in (right, next_right))
        between = moved[start:end]
        slots.extend(_gap(lost, new, sorted(between), alike))
    return tuple(slots)


def _pairs(expected: Sequence[Hashable], observed: Sequence[Hashable]) -> list[tuple[int, int]]:
    """Pair equal digests, sorted by expected index: a common start and end first, then n-th with n-th."""
    shorter = min(len(expected), len(observed))
    start = next((i for i in range(shorter) if expected[i] != observed[i]), shorter)
    end = next((i for i in range(shorter - start) if expected[-1 - i] != observed[-1 - i]), shorter - start)
    pairs = [(index, index) for index in range(start)]
    places: dict[Hashable, list[int]] = defaultdict(list)
    for index in range(start, len(observed) - end):
        places[observed[index]].append(index)
    used: dict[Hashable, count[int]] = defaultdict(count)
    for index in range(start, len(expected) - end):
        digest = expected[index]
        if digest in places and (number := next(used[digest])) < len(places[digest]):
            pairs.append((index, places[digest][number]))
    pairs.extend((len(expected) - back, len(observed) - back) for back in range(end, 0, -1))
    return pairs


def _longest_rising(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the longest part of `pairs` whose observed indices rise too (patience sorting)."""
    tails: list[int] = []
    ends: list[int] = []
    before: list[int | None] = []
    for index, (_, right) in enumerate(pairs):
        place = bisect_left(tails, right)
        before.append(ends[place - 1] if place else None)
        if place == len(tails):
            tails.append(right)
            ends.append(index)
        else:
            tails[place], ends[place] = right, index
    kept: list[tuple[int, int]] = []
    current = ends[-1] if ends else None
    while current is not None:
        kept.append(pairs[current])
        current = before[current]
    return kept[::-1]


def _gap(
    lost: Sequence[int],
    new: Sequence[int],
    moved: Sequence[tuple[int, int]],
    alike: Callable[[int, int], bool],
) -> list[Slot]:
    """Order what lies between two anchors: each lost event beside the next new one that it is alike to."""
    slots = [Slot(change=Change.MOVED, expected=left, observed=right) for left, right in moved]
    cursor = 0
    for index in lost:
        # Only the next few are looked at, which keeps a long gap linear.
        match = next((at for at in range(cursor, min(cursor + 8, len(new))) if alike(index, new[at])), None)
        if match is None:
            slots.append(Slot(change=Change.MISSING, expected=index, observed=None))
            continue
        slots.extend(Slot(change=Change.EXTRA, expected=None, observed=at) for at in new[cursor:match])
        slots.append(Slot(change=Change.ALTERED, expected=index, observed=new[match]))
        cursor = match + 1
    slots.extend(Slot(change=Change.EXTRA, expected=None, observed=at) for at in new[cursor:])
    return slots
