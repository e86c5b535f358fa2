# SPDX-License-Identifier: Apache-2.0
"""A release report in short: numbers and names, for people and as JSON.

Owns what is counted. A rule is counted as shown when a check or an attack of its own says so, and what is
open or was not tried is named, not only counted.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from mantlet.release.attack_results import Verdict
from mantlet.release.audit_results import CheckVerdict
from mantlet.release.build import image_to_value
from mantlet.release.report import Report, Row
from mantlet.release.statement import Release


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Counts of a report: rules by status, findings, attacks by verdict; and the ids of what is open.

    tried: kept rules that an attack tried; checked: those that a check alone looks at; neither: the ids of
    those that neither does.
    """

    rules: int
    kept: int
    limits: int
    opened: tuple[str, ...]
    tried: int
    checked: int
    neither: tuple[str, ...]
    checks: int
    findings: int
    explained: int
    attacks: Mapping[Verdict, int]


def summary(report: Report) -> Summary:
    """Count what a report says."""
    kept = [row for row in report.rows if row.rule.status == "kept"]
    tried = [row for row in kept if row.attack is not None and row.attack.shows_something]
    rest = [row for row in kept if row not in tried]
    checked = [row for row in rest if _checked(row)]
    counted = Counter(attack.verdict for attack in report.attacks)
    return Summary(
        rules=len(report.rules),
        kept=len(kept),
        limits=sum(rule.status is None for rule in report.rules),
        opened=tuple(rule.id for rule in report.rules if rule.status == "open"),
        tried=len(tried),
        checked=len(checked),
        neither=tuple(row.rule.id for row in rest if row not in checked),
        checks=len(report.audit.checks),
        findings=len(report.audit.standing),
        explained=len(report.audit.findings) - len(report.audit.standing),
        attacks={verdict: counted[verdict] for verdict in Verdict},
    )


def _checked(row: Row) -> bool:
    return row.static in (CheckVerdict.CLEAN, CheckVerdict.EXPLAINED)


def release_to_value(release: Release) -> dict[str, object]:
    """Return a release that was believed, in short, as JSON."""
    statement, said = release.statement, summary(release.report)
    return {
        "image": dict(image_to_value(statement.image)),
        "signed_by": list(release.keyids),
        "created": statement.created,
        "report_sha256": statement.report_sha256.hex(),
        "disk_sha256": statement.build.disk_sha256.hex(),
        "waived": dict(statement.waived),
        **summary_to_value(said),
        "versions": dict(release.report.versions),
    }


def summary_to_value(said: Summary) -> dict[str, object]:
    """Return the counts as JSON."""
    return {
        "rules": {
            "all": said.rules,
            "kept": said.kept,
            "open": list(said.opened),
            "limits": said.limits,
            "tried_by_attack": said.tried,
            "checked_only": said.checked,
            "neither": list(said.neither),
        },
        "audit": {"checks": said.checks, "findings": said.findings, "explained": said.explained},
        "attacks": {verdict.value: count for verdict, count in said.attacks.items()},
    }


def release_lines(release: Release) -> Iterator[str]:
    """Yield a release that was believed, in short, line by line."""
    statement = release.statement
    image, when = statement.image, datetime.fromtimestamp(statement.created, UTC)
    yield f"RELEASED  image {image.line}, on {when:%Y-%m-%d}"
    yield from (f"          signed by key {keyid}" for keyid in release.keyids)
    yield from (f"          {line}" for line in lines(release.report))
    for attack, reason in statement.waived.items():
        yield f"          not tried: {attack} ({reason})"


def lines(report: Report) -> Iterator[str]:
    """Yield a report in short, line by line."""
    said = summary(report)
    yield (
        f"rules     {said.rules}: {said.kept} kept, {len(said.opened)} open{_named(said.opened)}, "
        f"{said.limits} limits"
    )
    yield (
        f"of these  {said.tried} tried by an attack, {said.checked} looked at by a check alone, "
        f"{len(said.neither)} by neither{_named(said.neither)}"
    )
    yield f"audit     {said.checks} checks, {said.findings} findings, {said.explained} explained"
    counted = (f"{count} {verdict}" for verdict, count in said.attacks.items() if count)
    yield f"attacks   {sum(said.attacks.values())}: {', '.join(counted)}"
    yield f"tried on  {', '.join(f'{name} {text}' for name, text in report.versions.items())}"


def _named(ids: tuple[str, ...]) -> str:
    shown = ", ".join(ids[:12]) + (", …" if len(ids) > 12 else "")
    return f" ({shown})" if ids else ""
