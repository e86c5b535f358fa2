# SPDX-License-Identifier: Apache-2.0
"""What became of the attacks on a build, as a release report has it (docs/formats.md, *Release report*).

Owns the types, their JSON, and the order of the verdicts. `mantlet attack` writes a document of its own, with
times in it (`mantlet.attack.document`); of a verdict no more is believed here than its control shows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mantlet.release.build import LINE
from mantlet_measure.strictjson import Fields

# What a verdict hangs on beside the image.
REQUIRED_VERSIONS = ("firmware", "qemu", "swtpm")
RULE_ID = r"[A-Z][0-9]{2}"
NAME = r"[a-z0-9]+(-[a-z0-9]+)*"
_ATTACKS, _ITEMS, _VERSIONS, _LINE_SIZE = 1024, 512, 32, 400


class Verdict(StrEnum):
    """What became of an attack, the best first."""

    INERT = "inert"
    """The machine serves, and the attack had no effect."""
    FAIL_CLOSED = "fail-closed"
    """The machine went off, and no key was released."""
    LIMIT = "limit"
    """It succeeds, as is stated: nothing is claimed against it."""
    NOT_RUN = "not-run"
    """It could not be tried, or was not."""
    VOID = "void"
    """Its control did not show that a success would have been seen."""
    BREACH = "breach"
    """It succeeded."""

    @property
    def rank(self) -> int:
        """Its place in this order, from 0."""
        return tuple(Verdict).index(self)

    @property
    def shows_something(self) -> bool:
        """Whether it says that a promise was kept under attack."""
        return self in (Verdict.INERT, Verdict.FAIL_CLOSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """The same attack where one thing is weaker; `kind` says what. verdict: None when it was not run."""

    kind: str
    verdict: Verdict | None
    facts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One attack: the rules that it tries, its verdict, its control, and the facts behind it.

    rules: none for an attack that tries more than the rules say. reasons: of a breach, of a control that is
    void, of what was not run.
    """

    id: str
    title: str
    rules: tuple[str, ...]
    verdict: Verdict
    control: Control
    reasons: tuple[str, ...]
    facts: tuple[str, ...]


def attacks_from_fields(fields: Fields) -> tuple[Attack, ...]:
    """Decode the member `attacks`. DecodeError on anything but attacks by ascending id."""
    attacks = tuple(
        _attack(Fields(item, f"{fields.what}: attack {number}"))
        for number, item in enumerate(fields.sequence("attacks", limit=_ATTACKS), 1)
    )
    names = [attack.id for attack in attacks]
    if not names or names != sorted(set(names)):
        fields.refuse("attacks", "attacks by ascending id, each once, at least one")
    return attacks


def versions_from_fields(fields: Fields) -> Mapping[str, str]:
    """Decode the member `versions`, a line for each program, firmware and TPM among them."""
    members = fields.mapping("versions")
    if len(members) > _VERSIONS or not set(REQUIRED_VERSIONS) <= set(members):
        fields.refuse("versions", f"at most {_VERSIONS}, {', '.join(REQUIRED_VERSIONS)} among them")
    texts = Fields(members, f"{fields.what}: versions")
    return {name: texts.text(name, pattern=LINE, limit=_LINE_SIZE) for name in sorted(members)}


def attack_to_value(attack: Attack) -> Mapping[str, object]:
    """Return an attack as JSON has it."""
    control = attack.control
    return {
        "id": attack.id,
        "title": attack.title,
        "rules": list(attack.rules),
        "verdict": attack.verdict.value,
        "control": {
            "kind": control.kind,
            "verdict": None if control.verdict is None else control.verdict.value,
            "facts": list(control.facts),
        },
        "reasons": list(attack.reasons),
        "facts": list(attack.facts),
    }


def _attack(fields: Fields) -> Attack:
    rules = _texts(fields, "rules", pattern=RULE_ID)
    if list(rules) != sorted(set(rules)):
        fields.refuse("rules", "ids of rules, ascending, each once")
    attack = Attack(
        id=fields.text("id", pattern=NAME, limit=80),
        title=fields.text("title", pattern=LINE, limit=_LINE_SIZE),
        rules=rules,
        verdict=_verdict(fields, "verdict"),
        control=_control(fields.fields("control")),
        reasons=_texts(fields, "reasons", pattern=LINE),
        facts=_texts(fields, "facts", pattern=LINE),
    )
    fields.done()
    if attack.verdict.shows_something and attack.control.verdict is not Verdict.BREACH:
        fields.refuse("verdict", f"{Verdict.VOID}, for its control is no {Verdict.BREACH}")
    return attack


def _control(fields: Fields) -> Control:
    control = Control(
        kind=fields.text("kind", pattern=NAME, limit=80),
        verdict=None if fields.value("verdict") is None else _verdict(fields, "verdict"),
        facts=_texts(fields, "facts", pattern=LINE),
    )
    fields.done()
    return control


def _verdict(fields: Fields, name: str) -> Verdict:
    return Verdict(fields.text(name, pattern="|".join(Verdict)))


def _texts(fields: Fields, name: str, *, pattern: str) -> tuple[str, ...]:
    items: Sequence[object] = fields.sequence(name, limit=_ITEMS)
    texts = Fields({str(number): item for number, item in enumerate(items)}, f"{fields.what}: {name}")
    return tuple(texts.text(str(number), pattern=pattern, limit=_LINE_SIZE) for number in range(len(items)))
