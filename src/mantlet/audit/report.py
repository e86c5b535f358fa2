# SPDX-License-Identifier: Apache-2.0
"""A report as JSON: in a form of this project and as SARIF 2.1.0 (OASIS).

Owns both forms; it judges nothing.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from mantlet.audit.finding import Finding, Report, Severity

FORMAT = "mantlet-audit-report/v1"
_SARIF = "2.1.0"
_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
# SARIF 2.1.0, 3.27.10: level.
_LEVELS: Mapping[Severity, str] = MappingProxyType(
    {Severity.HIGH: "error", Severity.MEDIUM: "warning", Severity.LOW: "note"}
)


def to_value(report: Report) -> dict[str, object]:
    """Return the report as plain values."""
    return {
        "format": FORMAT,
        "image": report.image,
        "looked_at": dict(report.numbers),
        "rules": dict(report.rules),
        "findings": [_finding(item) for item in report.findings],
        "explained": [{**_finding(item.finding), "reason": item.reason} for item in report.explained],
    }


def to_sarif(report: Report, *, artefact: str, version: str) -> dict[str, object]:
    """Return the report as a SARIF log of one run. artefact: the image's name; version: of this tool.

    A finding that an exception explains is a result with a suppression.
    """
    return {
        "$schema": _SCHEMA,
        "version": _SARIF,
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "mantlet audit",
                        "version": version,
                        "rules": [
                            {"id": rule, "shortDescription": {"text": title}}
                            for rule, title in report.rules.items()
                        ],
                    }
                },
                "results": list(_results(report, artefact)),
            }
        ],
    }


def _finding(finding: Finding) -> dict[str, object]:
    return {
        "rule": finding.rule,
        "severity": finding.severity.value,
        "subject": finding.subject,
        "expected": finding.expected,
        "found": finding.found,
        "hint": finding.hint,
    }


def _results(report: Report, artefact: str) -> Iterator[dict[str, object]]:
    places = {rule: index for index, rule in enumerate(report.rules)}
    for finding in report.findings:
        yield _result(finding, places[finding.rule], artefact)
    for item in report.explained:
        result = _result(item.finding, places[item.finding.rule], artefact)
        # SARIF 2.1.0, 3.35: accepted outside of what was looked at.
        accepted = {"kind": "external", "status": "accepted", "justification": item.reason}
        yield {**result, "suppressions": [accepted]}


def _result(finding: Finding, index: int, artefact: str) -> dict[str, object]:
    text = f"{finding.subject}: expected {finding.expected}, found {finding.found}. Mend: {finding.hint}."
    return {
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": _LEVELS[finding.severity],
        "message": {"text": text},
        "locations": [
            {
                "physicalLocation": {"artifactLocation": {"uri": artefact}},
                "logicalLocations": [{"fullyQualifiedName": finding.subject}],
            }
        ],
    }
