# SPDX-License-Identifier: Apache-2.0
"""Properties: a flipped bit is traced to its section, and nothing that a log says breaks the explanation."""

from functools import partial
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mantlet.explain import account, page
from mantlet.explain.explanation import explain, to_value
from mantlet.explain.registers import Outcome
from mantlet_measure import strictjson
from mantlet_measure.errors import MantletError
from mantlet_measure.event_types import EventType
from mantlet_measure.eventlog import decode_firmware_log, encode_firmware_log
from mantlet_measure.logged import LoggedEvent
from mantlet_measure.pcr import ALL_BANKS, BANKS, Bank
from tests.unit.explain.scenes import CMDLINE, expected, explained, logged, predictions, scene
from tests.unit.predict import synthetic
from tests.unit.predict.boots import image
from tests.work import steps

TEMPLATE = Path(page.__file__).with_name(page.TEMPLATE).read_text("utf-8")
CLEAN = scene(release=image(262, cmdline=CMDLINE.encode()))
EXPECTED = expected(CLEAN)
SECTIONS = ("linux", "osrel", "cmdline", "initrd", "uname", "sbat")
TYPES = st.one_of(st.sampled_from([kind.name for kind in EventType]), st.text(max_size=12))
EVENTS = st.lists(
    st.builds(
        LoggedEvent,
        number=st.integers(0, 99),
        register=st.integers(0, 15),
        digests=st.binary(max_size=4).map(lambda seed: {bank: bank.digest(seed) for bank in BANKS}),
        claimed_type=TYPES,
        claimed_text=st.one_of(st.text(max_size=40), st.just("mantlet:"), st.just(".cmdline")),
        claimed_data=st.binary(max_size=80),
    ),
    max_size=12,
)


@settings(deadline=None)
@given(st.sampled_from(SECTIONS), st.data())
def test_one_flipped_bit_in_a_section_is_traced_to_that_section(section: str, data: st.DataObject) -> None:
    content = bytearray(CLEAN.uki.image.content(CLEAN.uki.sections()[f".{section}"]))
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    try:
        other = scene(release=image(262, **{"cmdline": CMDLINE.encode(), section: bytes(content)}))
        found = explained(CLEAN, other)
    except MantletError:
        # The flip made an image that the stub would not start.
        assume(False)
        return
    assert not found.equal
    assert found.findings[0].registers[0] == 11
    assert found.findings[0].headline.startswith(f"section .{section} differs")
    assert 4 in found.findings[0].registers


@settings(deadline=None)
@given(EVENTS)
def test_whatever_a_log_says_each_register_that_differs_is_named_in_a_finding(
    events: list[LoggedEvent],
) -> None:
    found = explain(EXPECTED, account.of_events(events, name="a log", banks=BANKS))
    named = {register for finding in found.findings for register in finding.registers}
    assert {result.register for result in found.of(Outcome.DIFFERS)} <= named
    assert not found.equal
    strictjson.encode(to_value(found))
    assert page.render(found, TEMPLATE).endswith("</html>\n")


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 1)), max_size=6))
def test_events_that_were_added_to_a_true_log_are_each_found_as_a_difference(
    places: list[tuple[int, int]],
) -> None:
    events = list(logged(predictions(CLEAN)))
    for place, seed in places:
        data = f"an event of nobody {seed}".encode()
        events.insert(
            place,
            LoggedEvent(
                number=0,
                register=11,
                digests={bank: bank.digest(data) for bank in BANKS},
                claimed_type="EV_IPL",
                claimed_text="x",
                claimed_data=data,
            ),
        )
    found = explain(EXPECTED, account.of_events(events, name="a log", banks=BANKS))
    result = next(result for result in found.results if result.register == 11)
    assert [pair.change.value for pair in result.changes] == ["extra"] * len(places)


def test_log_of_many_events_takes_no_more_than_its_length_asks_for() -> None:
    data = b"an event"
    event = LoggedEvent(
        number=0,
        register=11,
        digests={bank: bank.digest(data) for bank in ALL_BANKS},
        claimed_type="EV_IPL",
        claimed_text=".linux",
        claimed_data=data,
    )

    def told(count: int) -> None:
        log = decode_firmware_log(encode_firmware_log([event] * count, banks=BANKS))
        found = explain(EXPECTED, account.of_events(log.events, name="a log", banks=log.banks))
        page.render(found, TEMPLATE)
        assert not found.equal

    told(1)
    assert steps(partial(told, 2000)) < 2.5 * steps(partial(told, 1000))


@pytest.mark.parametrize("bank", [Bank.SHA1, Bank.SHA512])
def test_log_of_other_banks_than_the_expected_ones_is_refused_in_words(bank: Bank) -> None:
    events = [
        LoggedEvent(
            number=0,
            register=11,
            digests={bank: bank.digest(b"")},
            claimed_type="EV_IPL",
            claimed_text="",
            claimed_data=b"",
        )
    ]
    with pytest.raises(MantletError, match=f"found those of {bank}"):
        explain(EXPECTED, account.of_events(events, name="a log", banks=(bank,)))


def test_sections_of_the_property_are_those_of_the_test_image() -> None:
    assert {f".{name}" for name in SECTIONS} <= set(synthetic.sections()) | {".cmdline"}
