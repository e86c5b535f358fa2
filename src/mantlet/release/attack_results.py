# SPDX-License-Identifier: Apache-2.0
"""What became of the attacks on a build, as `mantlet attack` writes it (docs/formats.md, *attacks.json*).

Owns the strict decoding and the order of the verdicts. It judges no boot; of a judgement it believes no more
than its control shows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mantlet_measure import strictjson
from mantlet_measure.errors import DecodeError
from mantlet_measure.strictjson import Fields

FORMAT = "mantlet-attacks/v1"
WHAT = "attacks.json"
LIMIT = 4 << 20
# What a verdict hangs on beside the image.
REQUIRED_VERSIONS = ("firmware", "qemu", "swtpm")
LINE = r"[^\x00-\x1f]+"
RULE_ID = r"[A-Z][0-9]{2}"
_NAME = r"[a-z0-9]+(-[a-z0-9]+)*"
_ATTACKS, _RULES, _FACTS, _VERSIONS = 1024, 512, 64, 32


class Verdict(StrEnum):
    """What became of an attack, the best first."""

    INERT = "inert"
    """The machine serves, and the attack had no effect."""
    FAIL_CLOSED = "fail-closed"
    """The machine went off, and no key was released."""
    LIMIT = "limit"
    """It succeeds, as is stated: nothing is claimed against it."""
    NOT_RUN = "not-run"
    """It could not be tried."""
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
class Build:
    """The build that was looked at and attacked: SHA-256 of its manifest, UKI and disk, and its root hash."""

    manifest_sha256: bytes
    uki_sha256: bytes
    roothash: bytes
    disk_sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One attack: the rules that it tries, its verdict, that of its control, the facts behind both.

    control: None where there was none to run.
    """

    id: str
    title: str
    rules: tuple[str, ...]
    verdict: Verdict
    control: Verdict | None
    facts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackResults:
    """The attacks on one build by their ids, and the versions of what it ran on."""

    build: Build
    versions: Mapping[str, str]
    attacks: tuple[Attack, ...]


def decode(data: bytes) -> AttackResults:
    """Decode the canonical bytes of attacks.json, at most 4 MiB. DecodeError on anything else."""
    results = from_fields(Fields(strictjson.decode(data, what=WHAT, limit=LIMIT), WHAT))
    if strictjson.encode(to_value(results)) != data:
        raise DecodeError(WHAT, expected="canonical JSON", found="another spelling of the same document")
    return results


def from_fields(fields: Fields) -> AttackResults:
    """Decode the object that `to_value` returns, all of it. DecodeError on anything else."""
    fields.constant("format", FORMAT)
    build = build_from_fields(fields.fields("build"))
    versions = versions_from_fields(fields, required=REQUIRED_VERSIONS)
    attacks = tuple(
        _attack(Fields(item, f"{fields.what}: attack {number}"))
        for number, item in enumerate(fields.sequence("attacks", limit=_ATTACKS), 1)
    )
    fields.done()
    names = [attack.id for attack in attacks]
    if not names or names != sorted(set(names)):
        fields.refuse("attacks", "attacks by ascending id, each once, at least one")
    return AttackResults(build=build, versions=versions, attacks=attacks)


def to_value(results: AttackResults) -> Mapping[str, object]:
    """Return the results as JSON has them."""
    return {
        "format": FORMAT,
        "build": build_to_value(results.build),
        "versions": dict(results.versions),
        "attacks": [_to_value(attack) for attack in results.attacks],
    }


def build_from_fields(fields: Fields) -> Build:
    """Decode the digests of a build, all of them."""
    build = Build(
        manifest_sha256=fields.hex("manifest_sha256", 32),
        uki_sha256=fields.hex("uki_sha256", 32),
        roothash=fields.hex("roothash", 32),
        disk_sha256=fields.hex("disk_sha256", 32),
    )
    fields.done()
    return build


def build_to_value(build: Build) -> Mapping[str, str]:
    """Return the digests of a build as JSON has them."""
    return {
        "manifest_sha256": build.manifest_sha256.hex(),
        "uki_sha256": build.uki_sha256.hex(),
        "roothash": build.roothash.hex(),
        "disk_sha256": build.disk_sha256.hex(),
    }


def versions_from_fields(fields: Fields, *, required: Sequence[str]) -> Mapping[str, str]:
    """Decode the member `versions`, a line each. DecodeError when one of `required` is missing."""
    members = fields.mapping("versions")
    if len(members) > _VERSIONS or not set(required) <= set(members):
        fields.refuse("versions", f"at most {_VERSIONS}, {', '.join(required)} among them")
    texts = Fields(members, f"{fields.what}: versions")
    return {name: texts.text(name, pattern=LINE, limit=256) for name in sorted(members)}


def _attack(fields: Fields) -> Attack:
    rules = _texts(fields, "rules", pattern=RULE_ID, limit=_RULES)
    if not rules or list(rules) != sorted(set(rules)):
        fields.refuse("rules", "ids of rules, ascending, each once, at least one")
    attack = Attack(
        id=fields.text("id", pattern=_NAME, limit=80),
        title=fields.text("title", pattern=LINE, limit=256),
        rules=rules,
        verdict=_verdict(fields, "verdict"),
        control=None if fields.value("control") is None else _verdict(fields, "control"),
        facts=_texts(fields, "facts", pattern=LINE, limit=_FACTS),
    )
    fields.done()
    if attack.verdict.shows_something and attack.control is not Verdict.BREACH:
        fields.refuse("verdict", f"{Verdict.VOID}, for its control is no {Verdict.BREACH}")
    return attack


def _verdict(fields: Fields, name: str) -> Verdict:
    return Verdict(fields.text(name, pattern="|".join(Verdict)))


def _texts(fields: Fields, name: str, *, pattern: str, limit: int) -> tuple[str, ...]:
    items = fields.sequence(name, limit=limit)
    texts = Fields({str(number): item for number, item in enumerate(items)}, f"{fields.what}: {name}")
    return tuple(texts.text(str(number), pattern=pattern) for number in range(len(items)))


def _to_value(attack: Attack) -> Mapping[str, object]:
    return {
        "id": attack.id,
        "title": attack.title,
        "rules": list(attack.rules),
        "verdict": attack.verdict.value,
        "control": None if attack.control is None else attack.control.value,
        "facts": list(attack.facts),
    }
