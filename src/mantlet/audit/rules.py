# SPDX-License-Identifier: Apache-2.0
"""The rules of operator access: every way in that is known, and what became of it
(policies/operator-access.yaml).

Owns their types and the strict decoding from the value that the YAML holds; the YAML is read by the edge. A
rule is what is promised, in words: whether an image keeps it is for the checks, and whether a machine keeps
it for the attacks, both of which it only names.
"""

from dataclasses import dataclass
from enum import StrEnum

from mantlet_measure.errors import DecodeError
from mantlet_measure.pcr import ENFORCED
from mantlet_measure.strictjson import Fields

FORMAT = "mantlet-operator-access/v1"
_RULES, _FILES, _REGISTERS = 512, 16, 16
_ID, _CHANNEL, _NAME = r"[A-Z][0-9]{2}", r"U[1-9][0-9]?", r"[a-z0-9]+(-[a-z0-9]+)*"
# Relative to the root of the project, and not out of it.
_FILE = r"(?!\.|.*/\.)[A-Za-z0-9@_.-]+(/[A-Za-z0-9@_.-]+)*"
# One line: a title and a source stand in a table.
_LINE, _PROSE = r"[^\n|]{1,120}", r"[^\n|]{1,600}"


class RuleClass(StrEnum):
    """What is promised of a way in."""

    CLOSED = "closed"
    MEASURED = "measured"
    LIMIT = "limit"

    @property
    def meaning(self) -> str:
        """The promise in one sentence."""
        return _MEANINGS[self]


_MEANINGS = {
    RuleClass.CLOSED: "the image, as it is built, leaves it without effect",
    RuleClass.MEASURED: "it is not prevented, but it moves an enforced register, and the key stays sealed",
    RuleClass.LIMIT: "nothing is claimed",
}


class Status(StrEnum):
    """Whether a promise is kept today."""

    KEPT = "kept"
    OPEN = "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Closure:
    """What closes a way in: in words, and the files of the project that say so. Open: it does not yet."""

    status: Status
    how: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One way in.

    channel: its number among the inputs that policies over registers commonly miss, None elsewhere; closure:
    None for a limit, which has `not_claimed` instead; static: id of the check on the built image; attack: id
    of the attack on a running machine; registers: those that would show it, ascending; source: a title.
    """

    id: str
    title: str
    kind: RuleClass
    channel: str | None
    mechanism: str
    closure: Closure | None
    not_claimed: str | None
    static: str | None
    attack: str | None
    registers: tuple[int, ...]
    source: str

    @property
    def open(self) -> bool:
        """Whether it is promised and not yet kept."""
        return self.closure is not None and self.closure.status is Status.OPEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Rules of one subject, in the order of their ids."""

    title: str
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorAccess:
    """All rules, by subject. No id stands twice."""

    groups: tuple[Group, ...]

    @property
    def rules(self) -> tuple[Rule, ...]:
        """All rules in order."""
        return tuple(rule for group in self.groups for rule in group.rules)


def decode(value: object) -> OperatorAccess:
    """Decode the rules from the value that their YAML holds. DecodeError on anything else."""
    fields = Fields(value, "operator access")
    fields.constant("format", FORMAT)
    groups = tuple(
        _group(Fields(item, f"operator access: group {number}"))
        for number, item in enumerate(fields.sequence("groups", limit=64), 1)
    )
    fields.done()
    seen: set[str] = set()
    for rule in (rule for group in groups for rule in group.rules):
        for name in (rule.id, *filter(None, (rule.channel,))):
            if name in seen:
                raise DecodeError("operator access", expected="each id once", found=f"{name} twice")
            seen.add(name)
    if not seen:
        raise DecodeError("operator access", expected="at least one rule", found="none")
    return OperatorAccess(groups=groups)


def _group(fields: Fields) -> Group:
    title = fields.text("title", pattern=_LINE)
    rules = tuple(
        _rule(Fields(item, f"{fields.what}, rule {number}"))
        for number, item in enumerate(fields.sequence("rules", limit=_RULES), 1)
    )
    fields.done()
    if [rule.id for rule in rules] != sorted(rule.id for rule in rules):
        fields.refuse("rules", "rules in the order of their ids")
    return Group(title=title, rules=rules)


def _rule(fields: Fields) -> Rule:
    name = fields.text("id", pattern=_ID)
    fields.what = f"operator access: {name}"
    kind = RuleClass(fields.text("class", pattern="|".join(RuleClass)))
    limit = kind is RuleClass.LIMIT
    rule = Rule(
        id=name,
        title=fields.text("title", pattern=_LINE),
        kind=kind,
        channel=fields.text("channel", pattern=_CHANNEL) if fields.has("channel") else None,
        mechanism=fields.text("mechanism", pattern=_PROSE),
        closure=None if limit else _closure(fields.fields("closed_by")),
        not_claimed=fields.text("not_claimed", pattern=_PROSE) if limit else None,
        static=_optional(fields, "static"),
        attack=_optional(fields, "attack"),
        registers=_registers(fields),
        source=fields.text("source", pattern=_LINE),
    )
    fields.done()
    if kind is RuleClass.MEASURED and not set(rule.registers) & set(ENFORCED):
        enforced = ", ".join(str(int(register)) for register in ENFORCED)
        fields.refuse("registers", f"one of the enforced registers {enforced}, for a rule that is measured")
    return rule


def _closure(fields: Fields) -> Closure:
    closure = Closure(
        status=Status(fields.text("status", pattern="|".join(Status))),
        how=fields.text("how", pattern=_PROSE),
        files=_files(fields),
    )
    fields.done()
    return closure


def _files(fields: Fields) -> tuple[str, ...]:
    listed = fields.sequence("files", limit=_FILES)
    texts = Fields({str(number): item for number, item in enumerate(listed)}, f"{fields.what}: files")
    names = tuple(texts.text(str(number), pattern=_FILE) for number in range(len(listed)))
    if not names or len(set(names)) != len(names):
        fields.refuse("files", "at least one file, and each once")
    return names


def _registers(fields: Fields) -> tuple[int, ...]:
    listed = fields.sequence("registers", limit=_REGISTERS)
    numbers = [item for item in listed if type(item) is int and 0 <= item <= 15]
    if len(numbers) != len(listed) or numbers != sorted(set(numbers)):
        fields.refuse("registers", "register numbers from 0 to 15, ascending")
    return tuple(numbers)


def _optional(fields: Fields, name: str) -> str | None:
    return None if fields.value(name) is None else fields.text(name, pattern=_NAME)
