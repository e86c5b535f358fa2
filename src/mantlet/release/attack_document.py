# SPDX-License-Identifier: Apache-2.0
"""The last release report as a document (docs/attacks.md): each way in with the verdicts on it.

Owns the words and the tables. It is a function of the report alone.
"""

from collections.abc import Iterator

from mantlet.release.attack_results import Attack, Verdict
from mantlet.release.audit_results import CheckVerdict
from mantlet.release.report import Report, Row
from mantlet.release.summary import lines

_INTRODUCTION = """# Attacks

Written from [`release-report.json`](release-report.json) by
`python -m mantlet.cli.attack_document --write`, never by hand. The report is what `mantlet release report`
made of an audit of one build and of the attacks on it; a release of that build carries its digest.

*Check* is what the audit says of the built image: clean, explained (an exception with its reason), finding,
missing. *Attack* is the worst of the attacks on the rule: inert (the machine serves, without effect),
fail-closed (it is off, no key was released), breach, void (the control did not succeed), not-run, limit.
Each attack that is inert or fail-closed succeeded in its control. A dash: the rule names none."""


def markdown(report: Report) -> str:
    """Return the whole document."""
    parts = [
        _INTRODUCTION,
        "\n".join(_build(report)),
        "## Rules",
        "\n".join(_rules(report)),
        "## Attacks, one by one",
        "\n".join(_attacks(report)),
        "## What the audit found and explains",
        "\n".join(_explained(report)),
    ]
    return "\n\n".join(parts) + "\n"


def _build(report: Report) -> Iterator[str]:
    image, build = report.image, report.build
    yield f"Image {image.line}:"
    yield ""
    yield f"- manifest `{build.manifest_sha256.hex()}`"
    yield f"- UKI `{build.uki_sha256.hex()}`"
    yield f"- root hash `{build.roothash.hex()}`"
    yield f"- disk `{build.disk_sha256.hex()}`"
    yield f"- manifest of the weakened build, which controls ran on, `{report.weakened_sha256.hex()}`"
    for line in lines(report):
        yield f"- {_cell(' '.join(line.split()))}"


def _rules(report: Report) -> Iterator[str]:
    yield "| rule | way in | promise | check | verdict | attack | verdict |"
    yield "|---|---|---|---|---|---|---|"
    for row in report.rows:
        yield f"| {' | '.join(_rule_cells(row))} |"


def _rule_cells(row: Row) -> Iterator[str]:
    rule = row.rule
    yield rule.id
    yield _cell(rule.title)
    yield f"**{rule.kind}, open**" if rule.status == "open" else rule.kind
    yield _code(rule.check)
    yield _verdict(row.static, good=(CheckVerdict.CLEAN, CheckVerdict.EXPLAINED))
    yield _code(rule.attack)
    yield _attack_verdict(row.attack)


def _attacks(report: Report) -> Iterator[str]:
    yield "| attack | what it tries | rules | verdict | control | facts |"
    yield "|---|---|---|---|---|---|"
    for attack in report.attacks:
        yield f"| {' | '.join(_attack_cells(attack))} |"


def _attack_cells(attack: Attack) -> Iterator[str]:
    yield _code(attack.id)
    yield _cell(attack.title)
    yield ", ".join(attack.rules) or "–"
    yield _attack_verdict(attack.verdict)
    yield _control(attack)
    yield _cell("; ".join((*attack.reasons, *attack.facts))) or "–"


def _control(attack: Attack) -> str:
    control = attack.control
    return control.kind if control.verdict is None else f"{control.kind}: {control.verdict}"


def _explained(report: Report) -> Iterator[str]:
    explained = [finding for finding in report.audit.findings if finding.reason is not None]
    if not explained:
        yield "Nothing."
        return
    yield "| check | subject | found | why it is no way in |"
    yield "|---|---|---|---|"
    for finding in explained:
        cells = (
            _code(finding.rule),
            _cell(finding.subject),
            _cell(finding.found),
            _cell(str(finding.reason)),
        )
        yield f"| {' | '.join(cells)} |"


def _attack_verdict(verdict: Verdict | None) -> str:
    return _verdict(verdict, good=(Verdict.INERT, Verdict.FAIL_CLOSED, Verdict.LIMIT))


def _verdict(verdict: CheckVerdict | Verdict | None, *, good: tuple[CheckVerdict | Verdict, ...]) -> str:
    if verdict is None:
        return "–"
    return verdict.value if verdict in good else f"**{verdict.value}**"


def _code(name: str | None) -> str:
    return f"`{name}`" if name else "–"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
