# SPDX-License-Identifier: Apache-2.0
"""What an audit of a build found, as `mantlet audit --json` writes it (docs/formats.md, *audit report*).

Owns the strict decoding and the verdict on one check. The audit itself is `mantlet.audit`'s.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from mantlet_measure.strictjson import Fields

FORMAT = "mantlet-audit-report/v1"
WHAT = "audit report"
# A number of `looked_at`: it is there when a recipe was looked at, so that no other audit passes for that.
RECIPE = "files of the recipe"
SEVERITIES = ("high", "medium", "low")
_CHECK = r"[a-z0-9]+(-[a-z0-9]+)*"
_CHECKS, _FINDINGS, _NUMBERS, _TEXT = 512, 4096, 256, 4096


class CheckVerdict(StrEnum):
    """What a check says of an image, the best first."""

    CLEAN = "clean"
    """It found nothing."""
    EXPLAINED = "explained"
    """All that it found is explained by the image's policy."""
    MISSING = "missing"
    """The audit has no such check."""
    FINDING = "finding"
    """It found something that nobody explains."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One finding; `reason` explains it, None when nothing does."""

    rule: str
    severity: str
    subject: str
    expected: str
    found: str
    hint: str
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditResults:
    """An audit: the image's id, what was looked at in numbers, the checks with their titles, the findings."""

    image: str
    looked_at: Mapping[str, int]
    checks: Mapping[str, str]
    findings: tuple[Finding, ...]

    @property
    def standing(self) -> tuple[Finding, ...]:
        """The findings that nobody explains."""
        return tuple(finding for finding in self.findings if finding.reason is None)

    def verdict(self, check: str) -> CheckVerdict:
        """Return what this check says."""
        if check not in self.checks:
            return CheckVerdict.MISSING
        reasons = [finding.reason for finding in self.findings if finding.rule == check]
        if not reasons:
            return CheckVerdict.CLEAN
        return CheckVerdict.FINDING if None in reasons else CheckVerdict.EXPLAINED


def from_fields(fields: Fields) -> AuditResults:
    """Decode the object that `mantlet audit --json` prints, all of it. DecodeError on anything else."""
    fields.constant("format", FORMAT)
    image = fields.text("image", limit=128)
    numbers = fields.fields("looked_at")
    names = _names(fields, "looked_at", limit=_NUMBERS)
    looked_at = {name: numbers.integer(name, 0, 1 << 40) for name in names}
    titles = fields.fields("rules")
    checks = {name: titles.text(name) for name in _names(fields, "rules", limit=_CHECKS)}
    for name in checks:
        Fields({"id": name}, f"{fields.what}: rules").text("id", pattern=_CHECK, limit=80)
    findings = _findings(fields, "findings") + _findings(fields, "explained")
    fields.done()
    if unknown := sorted({finding.rule for finding in findings} - set(checks)):
        fields.refuse("rules", f"the check {unknown[0]}, for it found something")
    return AuditResults(image=image, looked_at=looked_at, checks=checks, findings=findings)


def to_value(results: AuditResults) -> Mapping[str, object]:
    """Return the results as JSON has them."""
    explained = [finding for finding in results.findings if finding.reason is not None]
    return {
        "format": FORMAT,
        "image": results.image,
        "looked_at": dict(results.looked_at),
        "rules": dict(results.checks),
        "findings": [_to_value(finding) for finding in results.standing],
        "explained": [{**_to_value(finding), "reason": finding.reason} for finding in explained],
    }


def _names(fields: Fields, name: str, *, limit: int) -> list[str]:
    members = fields.mapping(name)
    if len(members) > limit:
        fields.refuse(name, f"at most {limit} members")
    return sorted(members)


def _findings(fields: Fields, name: str) -> tuple[Finding, ...]:
    return tuple(
        _finding(Fields(item, f"{fields.what}: {name} {number}"), explained=name == "explained")
        for number, item in enumerate(fields.sequence(name, limit=_FINDINGS), 1)
    )


def _finding(fields: Fields, *, explained: bool) -> Finding:
    finding = Finding(
        rule=fields.text("rule", pattern=_CHECK, limit=80),
        severity=fields.text("severity", pattern="|".join(SEVERITIES)),
        subject=fields.text("subject", limit=_TEXT),
        expected=fields.text("expected", limit=_TEXT),
        found=fields.text("found", limit=_TEXT),
        hint=fields.text("hint", limit=_TEXT),
        reason=fields.text("reason", pattern=r"(?s).+", limit=_TEXT) if explained else None,
    )
    fields.done()
    return finding


def _to_value(finding: Finding) -> dict[str, object]:
    return {
        "rule": finding.rule,
        "severity": finding.severity,
        "subject": finding.subject,
        "expected": finding.expected,
        "found": finding.found,
        "hint": finding.hint,
    }
