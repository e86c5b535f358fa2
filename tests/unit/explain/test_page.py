# SPDX-License-Identifier: Apache-2.0
"""Tests of the page: every difference is in words and marks, what logs say is escaped, nothing is loaded."""

import re
from html.parser import HTMLParser
from pathlib import Path

from typing_extensions import override

from mantlet.explain import page
from mantlet.explain.explanation import Explanation, explain
from mantlet.explain.lanes import lanes
from tests.unit.explain.scenes import CMDLINE, expected, explained, predictions, scene, values
from tests.unit.predict.boots import image, utf16

TEMPLATE = Path(page.__file__).with_name(page.TEMPLATE).read_text("utf-8")
CLEAN = scene(release=image(262, cmdline=CMDLINE.encode()))
ATTACK = '"><script>alert(1)</script><img src=x onerror=alert(1)>'


class Elements(HTMLParser):
    """Collects elements and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs

    @override
    def handle_data(self, data: str) -> None:
        self.text += data


def attacked() -> Explanation:
    return explained(CLEAN, scene(release=CLEAN.uki, smbios_cmdline=ATTACK), [utf16(ATTACK)])


def test_text_of_a_log_is_escaped_wherever_it_stands() -> None:
    elements = Elements(page.render(attacked(), TEMPLATE))
    assert "script" not in elements.names
    assert "img" not in elements.names
    assert ATTACK in elements.text
    assert not [name for name, _ in elements.attributes if name.startswith("on")]


def test_page_loads_nothing_and_runs_nothing() -> None:
    text = page.render(explained(CLEAN, CLEAN), TEMPLATE)
    elements = Elements(text)
    assert not {"script", "link", "iframe", "object", "img", "base"} & set(elements.names)
    assert not [value for name, value in elements.attributes if name in ("src", "href", "action")]
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text


def test_difference_is_told_in_words_mark_and_border_as_well_as_in_colour() -> None:
    other = CMDLINE.replace("lockdown=confidentiality", "lockdown=none")
    text = page.render(explained(CLEAN, scene(release=image(262, cmdline=other.encode()))), TEMPLATE)
    words = Elements(text).text
    assert "section .cmdline differs: `lockdown=confidentiality` became `lockdown=none`" in words
    assert "≠ altered" in words
    for change in ("altered", "missing", "extra", "moved"):
        assert re.search(rf"\.{change} rect[^}}]*stroke-width: 2", text), change
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_each_lane_has_a_title_a_description_and_a_table_of_its_changes() -> None:
    found = attacked()
    elements = Elements(page.render(found, TEMPLATE))
    drawn = [lane for lane in lanes(found) if lane.drawn]
    assert len(drawn) >= 6
    assert elements.names.count("svg") == elements.names.count("desc") == len(drawn)
    changed = [result for result in found.results if result.changes]
    assert elements.attributes.count(("class", "changes")) == len(changed) == 2


def test_long_run_of_equal_events_is_one_box_and_no_difference_is_hidden_in_it() -> None:
    found = explained(CLEAN, scene(release=image(262, cmdline=CMDLINE.encode(), sbat=b"sbat,2,other\n")))
    lane = next(lane for lane in lanes(found) if lane.result.register == 11)
    assert len(lane.observed) < len(lane.result.pairs)
    assert [box.change.value for box in lane.observed].count("altered") == len(lane.result.changes) == 1


def test_values_without_events_are_one_box() -> None:
    other = scene(release=image(262, cmdline=CMDLINE.encode(), sbat=b"sbat,2,other\n"))
    found = explain(expected(CLEAN), values(predictions(other)))
    lane = next(lane for lane in lanes(found) if lane.result.register == 11)
    assert [(box.label, box.sub) for box in lane.observed] == [("value only", "≠ differs")]
