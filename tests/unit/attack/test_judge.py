# SPDX-License-Identifier: Apache-2.0
"""The judgement of a boot, and of an attack together with its control."""

from dataclasses import replace

import pytest

from mantlet.attack import signs
from mantlet.attack.judge import Judgement, Verdict, conclude, judge
from mantlet.attack.model import Attack, Control
from mantlet.attack.observation import End, Observation, Packet

MARK = "mark-of-a-test"
ATTACK = Attack(
    id="test",
    name="test",
    title="A test",
    sign=signs.said(MARK, words="its mark"),
    control=Control.WEAKENED_BUILD,
)
SERVES = Observation(end=End.SERVING, seconds=40.0, unseal=(0,), moved=())
OFF = Observation(end=End.OFF, seconds=30.0, lines=("unseal sealed-key-unapproved",), moved=(9, 12))


def judged(observation: Observation, **changed: object) -> Judgement:
    return judge(replace(ATTACK, **changed), observation)  # type: ignore[arg-type]  # any member


def test_a_machine_that_serves_and_shows_nothing_left_the_attack_without_effect() -> None:
    assert judged(SERVES).verdict is Verdict.INERT


@pytest.mark.parametrize("end", [End.OFF, End.FIRMWARE])
def test_a_machine_that_is_off_or_was_never_started_failed_closed(end: End) -> None:
    assert judged(replace(OFF, end=end)).verdict is Verdict.FAIL_CLOSED


def test_the_sign_of_the_attack_is_a_breach_though_the_machine_serves() -> None:
    found = judged(replace(SERVES, heard={"serial2": b"so: " + MARK.encode()}))
    assert (found.verdict, found.sign) == (Verdict.BREACH, (f"serial2 said {MARK}",))


def test_the_sign_of_the_attack_is_a_breach_though_the_machine_is_off_in_the_end() -> None:
    assert judged(replace(OFF, wire=b"\0" + MARK.encode())).verdict is Verdict.BREACH


def test_a_byte_on_any_port_is_a_breach_but_no_sign_of_an_attack_that_looks_for_something_else() -> None:
    found = judged(replace(SERVES, heard={"hvc0": b"login:"}))
    assert (found.verdict, found.sign) == (Verdict.BREACH, ())
    assert found.reasons == ("hvc0 said 6 bytes, the last: b'login:'",)


def test_a_key_that_must_not_be_released_and_is_makes_a_breach() -> None:
    found = judged(replace(OFF, unseal=(0x99D, 0)), releases=False)
    assert (found.verdict, found.sign) == (Verdict.BREACH, ("the TPM released the key 1 times",))
    assert judged(replace(OFF, unseal=(0x99D,)), releases=False).verdict is Verdict.FAIL_CLOSED


def test_a_machine_that_stays_on_and_serves_nothing_is_a_breach() -> None:
    assert judged(replace(OFF, end=End.ON)).verdict is Verdict.BREACH


STILL = Observation(end=End.ON, seconds=52.0, moved=(7,))


def test_a_machine_that_may_stand_still_failed_closed_as_long_as_nothing_ran_in_it() -> None:
    assert judged(STILL, stands=True).verdict is Verdict.FAIL_CLOSED
    assert judged(STILL).verdict is Verdict.BREACH


@pytest.mark.parametrize(
    "moved",
    [
        {"lines": ("inspect ok",)},
        {"unseal": (0x99D,)},
        {"sent": (Packet("arp", "10.0.2.2"),)},
        {"heard": {"hvc0": b"# "}},
        {"end": End.SERVING, "unseal": (0,)},
    ],
    ids=lambda moved: next(iter(moved)),
)
def test_one_that_may_stand_still_and_moves_did_not(moved: dict[str, object]) -> None:
    observation = replace(STILL, **moved)  # type: ignore[arg-type]  # any member
    assert judged(observation, stands=True, releases=False).verdict is Verdict.BREACH


def test_what_could_not_be_tried_is_not_called_inert() -> None:
    observation = replace(SERVES, not_run={"vsock": "the host has no device"})
    found = judged(observation, probes=("vsock",))
    assert (found.verdict, found.reasons) == (Verdict.NOT_RUN, ("the host has no device",))
    assert judged(observation, probes=("other",)).verdict is Verdict.INERT


INERT = Judgement(verdict=Verdict.INERT, reasons=(), sign=())
SHOWN = Judgement(verdict=Verdict.BREACH, reasons=("it shows",), sign=("it shows",))
LOUD = Judgement(verdict=Verdict.BREACH, reasons=("something else",), sign=())


def test_an_attack_counts_when_its_control_shows_its_sign() -> None:
    assert conclude(ATTACK, INERT, SHOWN) is Verdict.INERT


@pytest.mark.parametrize("control", [INERT, LOUD, None], ids=["inert", "loud for another reason", "none"])
def test_an_attack_whose_control_does_not_show_its_sign_is_void(control: Judgement | None) -> None:
    assert conclude(ATTACK, INERT, control) is Verdict.VOID


def test_a_breach_stays_one_whatever_the_control_shows() -> None:
    assert conclude(ATTACK, LOUD, None) is Verdict.BREACH
    assert conclude(ATTACK, SHOWN, SHOWN) is Verdict.BREACH


def test_a_limit_must_show_itself_and_is_void_when_it_does_not() -> None:
    limit = replace(ATTACK, control=Control.LIMIT)
    assert conclude(limit, SHOWN, None) is Verdict.LIMIT
    assert conclude(limit, INERT, None) is Verdict.VOID


def test_verdicts_that_a_release_may_have() -> None:
    assert {verdict for verdict in Verdict if verdict.accepted} == {
        Verdict.INERT,
        Verdict.FAIL_CLOSED,
        Verdict.LIMIT,
    }


@pytest.mark.parametrize(
    ("sign", "observation"),
    [
        (signs.spoke("serial1"), replace(SERVES, heard={"serial1": b"x"})),
        (signs.found("scan", words="a port"), replace(SERVES, found={"scan": ("a port answers",)})),
        (signs.sent("udp", words="a name"), replace(SERVES, sent=(Packet("udp", "10.0.2.3", 53),))),
        (
            signs.sent(words="a call", addresses=("10.0.2.71",)),
            replace(SERVES, sent=(Packet("arp", "10.0.2.71"),)),
        ),
        (signs.serves(), SERVES),
        (signs.stays_on(), replace(SERVES, end=End.ON)),
        (signs.boots(), OFF),
        (signs.released(), SERVES),
        (signs.moved(9), replace(OFF, moved=(9,))),
        (signs.any_of(signs.serves(), signs.stays_on()), SERVES),
    ],
)
def test_a_sign_sees_what_it_is_made_for_and_nothing_in_a_quiet_boot(
    sign: signs.Sign, observation: Observation
) -> None:
    assert len(tuple(sign.seen(observation))) == 1
    quiet = Observation(end=End.FIRMWARE, seconds=1.0, moved=(), found={"scan": ()})
    assert tuple(sign.seen(quiet)) == ()


def test_zeros_of_a_port_that_was_reset_are_no_word() -> None:
    assert tuple(signs.spoke().seen(replace(SERVES, heard={"serial1": b"\0\0"}))) == ()


def test_facts_tell_the_end_the_key_the_registers_and_who_spoke() -> None:
    observation = replace(OFF, unseal=(0x99D,), heard={"hvc0": b"abc"}, found={"dns": ("it asked",)})
    assert observation.facts == (
        "ended: off",
        "last line: unseal sealed-key-unapproved",
        "unseal: 0x99d",
        "registers moved: 9, 12",
        "hvc0 said 3 bytes",
        "dns: it asked",
    )
