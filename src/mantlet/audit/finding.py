# SPDX-License-Identifier: Apache-2.0
"""What an audit says: findings, the exceptions that explain some of them, and the report of both.

Owns the types, and the one rule of exceptions: they hold for one image, by its id, and one that explains
nothing is a finding itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase

from mantlet.audit.allowed import Allowed

UNUSED = "exception-unused"


class Severity(StrEnum):
    """How much a finding opens, the worst first."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"

    @property
    def rank(self) -> int:
        """Its place when findings are sorted, from 0."""
        return tuple(Severity).index(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One way in, or one thing that should close one and is not there. rule: the id of the check."""

    rule: str
    severity: Severity
    subject: str
    expected: str
    found: str
    hint: str


@dataclass(frozen=True, slots=True)
class Remedy:
    """What mends all findings of one subject."""

    hint: str

    def finding(self, rule: str, severity: Severity, subject: str, expected: str, found: str) -> Finding:
        """Return the finding that this mends; an empty `found` is told as `nothing`."""
        return Finding(
            rule=rule,
            severity=severity,
            subject=subject,
            expected=expected,
            found=found or "nothing",
            hint=self.hint,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Exemption:
    """Findings of one rule that are known: the subject as a shell pattern, and why they are no way in."""

    rule: str
    subject: str
    reason: str

    def covers(self, finding: Finding) -> bool:
        """Whether it explains a finding."""
        return finding.rule == self.rule and fnmatchcase(finding.subject, self.subject)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What is known of one image, whose id is `image`.

    exceptions; units: that it starts, by tree; exposures: how much of the machine a service of the root may
    reach, where it is not what all may; fuse: the service of the root without which nothing may answer, or
    empty; allowed: what the image may hold.

    It says nothing about images of another id.
    """

    image: str = ""
    exceptions: tuple[Exemption, ...] = ()
    units: Mapping[str, frozenset[str]] = field(default_factory=dict)
    exposures: Mapping[str, float] = field(default_factory=dict)
    fuse: str = ""
    allowed: Allowed = field(default_factory=Allowed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """A finding and the reason why it is none."""

    finding: Finding
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The findings, the worst first; those that an exception explains; what was looked at, in numbers.

    rules: each rule that was checked, with its title.
    """

    image: str
    findings: tuple[Finding, ...]
    explained: tuple[Explained, ...]
    rules: Mapping[str, str]
    numbers: Mapping[str, int]


def judged(
    findings: tuple[Finding, ...], policy: Policy
) -> tuple[tuple[Finding, ...], tuple[Explained, ...]]:
    """Part the findings into those that stand, sorted, and those that the policy explains."""
    standing: list[Finding] = []
    explained: list[Explained] = []
    used: set[Exemption] = set()
    for finding in findings:
        exemption = next((item for item in policy.exceptions if item.covers(finding)), None)
        if exemption is None:
            standing.append(finding)
        else:
            used.add(exemption)
            explained.append(Explained(finding=finding, reason=exemption.reason))
    standing += [
        Finding(
            rule=UNUSED,
            severity=Severity.LOW,
            subject=f"{item.rule} {item.subject}",
            expected="a finding that the exception explains",
            found="none",
            hint="remove the exception from the policy",
        )
        for item in policy.exceptions
        if item not in used
    ]
    return tuple(sorted(standing, key=lambda item: (item.severity.rank, item.rule, item.subject))), tuple(
        explained
    )
