# SPDX-License-Identifier: Apache-2.0
"""Tests of the alignment: nothing is lost, nothing is twice, and no list makes it slow."""

from collections.abc import Sequence
from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from mantlet.explain.align import Change, Slot, align
from tests.work import steps

LISTS = st.lists(st.sampled_from("abcdefgh"), max_size=24)


def aligned(expected: Sequence[str], observed: Sequence[str]) -> tuple[Slot, ...]:
    return align(expected, observed, alike=lambda _left, _right: True)


def changes(expected: str, observed: str) -> list[str]:
    return [slot.change.value for slot in aligned(expected, observed)]


@given(LISTS, LISTS)
def test_each_event_stands_in_exactly_one_slot_and_only_equal_ones_are_the_same(
    expected: list[str], observed: list[str]
) -> None:
    slots = aligned(expected, observed)
    assert sorted(slot.expected for slot in slots if slot.expected is not None) == list(range(len(expected)))
    assert sorted(slot.observed for slot in slots if slot.observed is not None) == list(range(len(observed)))
    for slot in slots:
        both = slot.expected is not None and slot.observed is not None
        assert both == (slot.change in (Change.SAME, Change.ALTERED, Change.MOVED))
        if slot.change in (Change.SAME, Change.MOVED):
            assert slot.expected is not None
            assert slot.observed is not None
            assert expected[slot.expected] == observed[slot.observed]


@given(LISTS)
def test_equal_lists_are_the_same_throughout(events: list[str]) -> None:
    assert {slot.change for slot in aligned(events, events)} <= {Change.SAME}


@given(st.lists(st.integers(), min_size=1, max_size=24, unique=True), st.data())
def test_one_altered_event_is_the_one_difference(events: list[int], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(events) - 1))
    observed = [*events[:place], object(), *events[place + 1 :]]
    slots = align(events, observed, alike=lambda _left, _right: True)
    assert [slot for slot in slots if slot.change is not Change.SAME] == [
        Slot(change=Change.ALTERED, expected=place, observed=place)
    ]


def test_what_is_missing_extra_altered_and_moved_is_told_apart() -> None:
    assert changes("abc", "ac") == ["same", "missing", "same"]
    assert changes("ac", "abc") == ["same", "extra", "same"]
    assert changes("abc", "axc") == ["same", "altered", "same"]
    assert changes("abcd", "acbd").count("moved") == 1
    assert changes("", "ab") == ["extra", "extra"]


def test_unlike_events_are_not_called_an_alteration() -> None:
    slots = align("abc", "axc", alike=lambda _left, _right: False)
    assert [slot.change.value for slot in slots] == ["same", "missing", "extra", "same"]


def test_a_log_that_was_made_to_be_slow_takes_no_more_than_its_length_asks_for() -> None:
    def moved_about(size: int) -> None:
        aligned(["a", "b"] * size, ["b", "a", "a"] * (10 * size))

    def nothing_alike(size: int) -> None:
        align(list(range(size)), list(range(2 * size, size, -1)), alike=lambda _left, _right: False)

    # n·log n: 2.2 times the work for twice the length. The quadratic one takes four times as much.
    for case in (moved_about, nothing_alike):
        assert steps(partial(case, 256)) < 2.5 * steps(partial(case, 128))
