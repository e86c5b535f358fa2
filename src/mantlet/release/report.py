# SPDX-License-Identifier: Apache-2.0
"""The report of a release: each rule of operator access with what the audit and the attacks say of it
(docs/formats.md, *Release report*).

Owns its parts, its one canonical form, and the verdicts on a rule, which are derived: a document that states
others is refused. Whether a release may be signed on it is `readiness`'s matter.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mantlet.release import attack_results, audit_results
from mantlet.release.attack_results import NAME, RULE_ID, Attack, Verdict
from mantlet.release.audit_results import AuditResults, CheckVerdict
from mantlet.release.build import (
    LINE,
    Build,
    ReleasedImage,
    build_from_fields,
    build_to_value,
    image_from_fields,
    image_to_value,
)
from mantlet.release.reference_values import ImageIdentity, Manifest
from mantlet_measure import strictjson
from mantlet_measure.errors import DecodeError
from mantlet_measure.pcr import ALL_BANKS, Register
from mantlet_measure.strictjson import Fields

FORMAT = "mantlet-release-report/v1"
WHAT = "release report"
LIMIT = 8 << 20
CLASSES = ("closed", "measured", "limit")
STATUSES = ("kept", "open")
_PLATFORM = r"[a-z0-9][a-z0-9-]{0,30}"
_RULES = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """A rule of operator access: what is promised of one way in.

    kind: one of CLASSES; status: one of STATUSES, None for a limit; check, attack: what tries it, None where
    nothing does.
    """

    id: str
    title: str
    kind: str
    status: str | None
    check: str | None
    attack: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A rule with the verdict of its check and the worst one of its attacks; None where it names none."""

    rule: Promise
    static: CheckVerdict | None
    attack: Verdict | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was looked at and attacked before a release, and what came of it.

    registers: the reference values of the enforced registers, by platform and bank; versions: of this tool,
    and of what the attacks ran on; weakened_sha256: of the manifest of the build that controls ran on.
    """

    image: ReleasedImage
    build: Build
    registers: Mapping[str, Mapping[str, Mapping[int, bytes]]]
    versions: Mapping[str, str]
    weakened_sha256: bytes
    rules: tuple[Promise, ...]
    audit: AuditResults
    attacks: tuple[Attack, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        """Each rule with its verdicts, in the order of the rules."""
        worst: dict[str, Verdict] = {}
        for attack in self.attacks:
            for rule in attack.rules:
                worst[rule] = max(worst.get(rule, Verdict.INERT), attack.verdict, key=lambda item: item.rank)
        return tuple(
            Row(
                rule=rule,
                static=None if rule.check is None else self.audit.verdict(rule.check),
                attack=None if rule.attack is None else worst.get(rule.id, Verdict.NOT_RUN),
            )
            for rule in self.rules
        )


def registers_of(manifest: Manifest) -> Mapping[str, Mapping[str, Mapping[int, bytes]]]:
    """Return the values that a manifest enforces, by platform and bank."""
    return {
        name: {
            bank.value: {register: values[register].value for register in platform.enforced}
            for bank, values in platform.banks.items()
        }
        for name, platform in manifest.platforms.items()
    }


def image_of(identity: ImageIdentity) -> ReleasedImage:
    """Return what a report says of a manifest's image."""
    return ReleasedImage(id=identity.id, version=identity.version, epoch=identity.epoch)


def encode(report: Report) -> bytes:
    """Return the canonical bytes, whose SHA-256 the release statement names."""
    return strictjson.encode(to_value(report))


def decode(data: bytes) -> Report:
    """Decode the canonical bytes of a report, at most 8 MiB. DecodeError on anything else."""
    fields = Fields(strictjson.decode(data, what=WHAT, limit=LIMIT), WHAT)
    fields.constant("format", FORMAT)
    rules = tuple(
        _promise(Fields(item, f"{WHAT}: rule {number}"))
        for number, item in enumerate(fields.sequence("rules", limit=_RULES), 1)
    )
    names = [rule.id for rule in rules]
    if not names or len(set(names)) != len(names):
        fields.refuse("rules", "rules, each once, at least one")
    report = Report(
        image=image_from_fields(fields.fields("image")),
        build=build_from_fields(fields.fields("build")),
        registers=_registers(fields),
        versions=attack_results.versions_from_fields(fields),
        weakened_sha256=fields.hex("weakened_sha256", 32),
        rules=rules,
        audit=audit_results.from_fields(fields.fields("audit")),
        attacks=attack_results.attacks_from_fields(fields),
    )
    fields.done()
    if unknown := {rule for attack in report.attacks for rule in attack.rules} - set(names):
        raise DecodeError(WHAT, expected="attacks on rules of the report", found=f"one on {min(unknown)}")
    if encode(report) != data:
        raise DecodeError(
            WHAT,
            expected="canonical JSON, and the verdicts that follow from audit and attacks",
            found="another spelling, or other verdicts",
        )
    return report


def to_value(report: Report) -> Mapping[str, object]:
    """Return the report as JSON has it."""
    return {
        "format": FORMAT,
        "image": image_to_value(report.image),
        "build": build_to_value(report.build),
        "registers": {
            platform: {
                bank: {str(register): value.hex() for register, value in values.items()}
                for bank, values in banks.items()
            }
            for platform, banks in report.registers.items()
        },
        "versions": dict(report.versions),
        "weakened_sha256": report.weakened_sha256.hex(),
        "rules": [_row_to_value(row) for row in report.rows],
        "audit": audit_results.to_value(report.audit),
        "attacks": [attack_results.attack_to_value(attack) for attack in report.attacks],
    }


def _promise(fields: Fields) -> Promise:
    kind = fields.text("class", pattern="|".join(CLASSES))
    check, attack = fields.value("check"), fields.value("attack")
    promise = Promise(
        id=fields.text("id", pattern=RULE_ID),
        title=fields.text("title", pattern=LINE, limit=256),
        kind=kind,
        status=fields.text("status", pattern="|".join(STATUSES)) if fields.has("status") else None,
        check=None if check is None else fields.text("check", pattern=NAME, limit=80),
        attack=None if attack is None else fields.text("attack", pattern=NAME, limit=80),
    )
    # Derived: that they are the right ones is seen when the report is encoded again.
    fields.value("check_verdict")
    fields.value("attack_verdict")
    fields.done()
    if (promise.status is None) != (kind == "limit"):
        raise DecodeError(fields.what, expected="a status, but of a limit", found=str(promise.status))
    return promise


def _row_to_value(row: Row) -> Mapping[str, object]:
    rule = row.rule
    return {
        "id": rule.id,
        "title": rule.title,
        "class": rule.kind,
        **({} if rule.status is None else {"status": rule.status}),
        "check": rule.check,
        "check_verdict": None if row.static is None else row.static.value,
        "attack": rule.attack,
        "attack_verdict": None if row.attack is None else row.attack.value,
    }


def _registers(fields: Fields) -> Mapping[str, Mapping[str, Mapping[int, bytes]]]:
    platforms = fields.fields("registers")
    found = {}
    for name in sorted(fields.mapping("registers")):
        Fields({"name": name}, platforms.what).text("name", pattern=_PLATFORM)
        banks = platforms.fields(name)
        found[name] = {
            bank.value: _values(banks.fields(bank.value), bank.size)
            for bank in ALL_BANKS
            if banks.has(bank.value)
        }
        banks.done()
    return found


def _values(fields: Fields, size: int) -> Mapping[int, bytes]:
    values = {
        int(register): fields.hex(str(int(register)), size)
        for register in Register
        if fields.has(str(int(register)))
    }
    fields.done()
    return values
