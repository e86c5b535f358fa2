# SPDX-License-Identifier: Apache-2.0
"""Whether a release may be signed on its report: everything that stands against it (docs/adr/0013).

Owns the rules of that. A promise that is stated as open is shown and stands against nothing; an attack that
could not be tried stands against the release until its signer waives it by name, with a reason that is signed
too. A breach, a void control and an unexplained finding cannot be waived.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mantlet.release.attack_results import Attack, Verdict
from mantlet.release.audit_results import CheckVerdict
from mantlet.release.debug_image import is_debug
from mantlet.release.report import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """One thing that stands against a release."""

    subject: str
    expected: str
    found: str
    hint: str

    @property
    def line(self) -> str:
        """It in one line."""
        return f"{self.subject}: expected {self.expected}, found {self.found}"


def obstacles(report: Report, *, waived: Mapping[str, str]) -> tuple[Obstacle, ...]:
    """Return all that stands against a release.

    waived: reasons by the names that rules give to attacks. One that waives nothing is an obstacle itself.
    """
    return (
        *_of_image(report),
        *_of_audit(report),
        *_of_attacks(report),
        *_of_rules(report, waived),
        *_of_waivers(report, waived),
    )


def not_run(report: Report) -> tuple[str, ...]:
    """Return the names of the attacks that kept promises hang on and that were not run, each once."""
    names = (
        row.rule.attack
        for row in report.rows
        if row.attack is Verdict.NOT_RUN and row.rule.status == "kept" and row.rule.attack is not None
    )
    return tuple(sorted(set(names)))


def _of_image(report: Report) -> Iterator[Obstacle]:
    if is_debug(report.image.id):
        yield Obstacle(
            subject=f"image {report.image.id}",
            expected="an image for production",
            found="one that is made to be entered",
            hint="build the image without --profile",
        )
    if report.audit.image != report.image.id:
        yield Obstacle(
            subject="audit",
            expected=f"one of image {report.image.id}",
            found=f"one of image {report.audit.image}"
            if report.audit.image
            else "one of an image without an id",
            hint="make the report of one build folder",
        )


def _of_audit(report: Report) -> Iterator[Obstacle]:
    for finding in report.audit.standing:
        yield Obstacle(
            subject=f"finding {finding.rule}, {finding.subject}",
            expected=finding.expected,
            found=finding.found,
            hint=finding.hint,
        )


def _of_attacks(report: Report) -> Iterator[Obstacle]:
    for attack in report.attacks:
        if attack.verdict is Verdict.BREACH:
            yield Obstacle(
                subject=_named(attack),
                expected="no effect, or a machine that is off",
                found=f"a breach ({'; '.join(attack.reasons) or 'for no stated reason'})",
                hint=f"close it; then `mantlet attack BUILD-DIR --only {attack.id}`",
            )
        elif attack.verdict is Verdict.VOID:
            yield Obstacle(
                subject=_named(attack),
                expected="a control in which it succeeds",
                found="; ".join(attack.reasons) or f"one that is {attack.control.verdict or 'not run'}",
                hint="mend the attack or its control: so it shows nothing",
            )


def _named(attack: Attack) -> str:
    return f"attack {attack.id} on {', '.join(attack.rules)}" if attack.rules else f"attack {attack.id}"


def _of_rules(report: Report, waived: Mapping[str, str]) -> Iterator[Obstacle]:
    for row in report.rows:
        rule = row.rule
        if row.static is CheckVerdict.MISSING:
            yield Obstacle(
                subject=f"rule {rule.id}",
                expected=f"the check {rule.check}",
                found="an audit without it",
                hint="audit with the version of this tool that has the rules",
            )
        if rule.status != "kept" or rule.attack is None or rule.attack in waived:
            continue
        if row.attack is Verdict.NOT_RUN:
            yield Obstacle(
                subject=f"rule {rule.id}",
                expected=f"the attack {rule.attack} on it",
                found="it was not run",
                hint=f"run it, or sign that it was not: --waive {rule.attack}=REASON",
            )
        elif row.attack is Verdict.LIMIT:
            yield Obstacle(
                subject=f"rule {rule.id}, {rule.title}",
                expected=f"no success of the attack {rule.attack}: it is promised to be {rule.kind}",
                found="a success that is stated as a limit",
                hint="state the rule as a limit too, or close it",
            )


def _of_waivers(report: Report, waived: Mapping[str, str]) -> Iterator[Obstacle]:
    for name in sorted(set(waived) - set(not_run(report))):
        yield Obstacle(
            subject=f"waiver of {name}",
            expected="an attack that a kept promise hangs on and that was not run",
            found="none of this name",
            hint=f"leave out --waive {name}=…: only what was not run can be waived",
        )
