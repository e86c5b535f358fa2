# SPDX-License-Identifier: Apache-2.0
"""Tests of the order of versions against the specification's list and against systemd-analyze."""

from itertools import product
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mantlet.predict import version_order

# UAPI.10, *Examples*, oldest first.
OLDEST_FIRST = (
    "122.1", "123~rc1-1", "123", "123-a", "123-a.1", "123-1", "123-1.1", "123^post1", "123.a-1", "123.1-1",
    "123a-1", "124-1",
)  # fmt: skip
# Equal, or of one kind against another.
OTHERS = (
    "",
    "~",
    "1",
    "01",
    "1.0",
    "a",
    "a1",
    "1a",
    "1_2",
    "1+2",
    "ab",
    "abc",
    "1..2",
    "1-~2",
    "^",
    "9",
    "10",
)


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)


def test_versions_sort_as_the_specification_lists_them() -> None:
    for (i, a), (j, b) in product(enumerate(OLDEST_FIRST), repeat=2):
        assert _sign(version_order.compare(a, b)) == _sign(i - j), (a, b)


def test_versions_compare_as_systemd_analyze_does(artefacts: Any) -> None:
    pairs = list(product(OLDEST_FIRST[::3] + OTHERS, repeat=2))
    script = "\n".join(f"systemd-analyze compare-versions '{a}' '{b}' >/dev/null; echo $?" for a, b in pairs)
    (artefacts.folder / "compare").write_text(script)
    codes = artefacts.run("sh", artefacts.path("compare")).decode().split()
    # systemd-analyze(1): 11 when the first is newer, 12 when it is older.
    assert [{"0": 0, "11": 1, "12": -1}[code] for code in codes] == [
        _sign(version_order.compare(a, b)) for a, b in pairs
    ]


@settings(deadline=None)
@given(st.text(alphabet="01aZ~-^._", max_size=12), st.text(alphabet="01aZ~-^._", max_size=12))
def test_order_is_antisymmetric(a: str, b: str) -> None:
    assert _sign(version_order.compare(a, b)) == -_sign(version_order.compare(b, a))
    assert version_order.compare(a, a) == 0
