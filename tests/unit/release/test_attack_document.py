# SPDX-License-Identifier: Apache-2.0
"""Tests of the report in short and of the document that is made of it."""

import dataclasses
from pathlib import Path

import pytest

from mantlet.cli import attack_document as command
from mantlet.release import attack_document, report, summary
from mantlet.release.attack_results import Verdict
from tests.unit.release.reports import ATTACKS, EXPLAINED, attack, report_of

REPORT = report_of()
DOCS = Path(__file__).parents[3] / "docs"


def rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without its head."""
    table = text.split(f"## {heading}\n\n")[1].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.replace("\\|", "¦").strip("|").split("|")] for line in table]


def test_each_rule_is_a_row_with_its_verdicts() -> None:
    found = rows(attack_document.markdown(REPORT), "Rules")
    assert found == [
        ["A01", "Login", "closed", "`getty`", "clean", "`keyboard`", "inert"],
        ["A02", "Serial", "closed", "`getty`", "clean", "`serial`", "fail-closed"],
        ["B01", "Swap", "**measured, open**", "–", "–", "`swap`", "**not-run**"],
        ["B02", "Words", "closed", "`words`", "explained", "–", "–"],
        ["P01", "Memory", "limit", "–", "–", "–", "–"],
    ]


def test_each_attack_and_each_explanation_is_a_row() -> None:
    text = attack_document.markdown(REPORT)
    assert [row[0] for row in rows(text, "Attacks, one by one")] == [f"`{item.id}`" for item in ATTACKS]
    assert rows(text, "What the audit found and explains") == [
        ["`words`", "/a¦b", "a word", "nobody reads it"]
    ]


def test_the_document_says_of_which_build_it_is_and_what_it_ran_on() -> None:
    text = attack_document.markdown(REPORT)
    for expected in (
        REPORT.build.disk_sha256.hex(),
        REPORT.build.roothash.hex(),
        "qemu 11.0.0",
        "mantlet 0.1.0",
    ):
        assert expected in text


def test_a_breach_is_told_in_bold_and_nothing_explained_is_said() -> None:
    results = (attack("keyboard", Verdict.BREACH, "A01"),)
    audit = dataclasses.replace(REPORT.audit, findings=(dataclasses.replace(EXPLAINED, reason=None),))
    text = attack_document.markdown(dataclasses.replace(REPORT, attacks=results, audit=audit))
    assert rows(text, "Rules")[0][-1] == "**breach**"
    assert rows(text, "Rules")[3][4] == "**finding**"
    assert text.endswith("## What the audit found and explains\n\nNothing.\n")


def test_the_summary_counts_what_shows_a_promise_and_names_what_does_not() -> None:
    said = summary.summary(REPORT)
    assert (said.rules, said.kept, said.limits, said.opened) == (5, 3, 1, ("B01",))
    assert (said.tried, said.checked, said.neither) == (2, 1, ())
    assert (said.checks, said.findings, said.explained) == (2, 0, 1)
    assert said.attacks[Verdict.INERT] == 2
    untried = (attack("z", Verdict.INERT, "P01"),)
    audit = dataclasses.replace(REPORT.audit, checks={"words": "No word."})
    bare = summary.summary(dataclasses.replace(REPORT, attacks=untried, audit=audit))
    assert (bare.tried, bare.checked, bare.neither) == (0, 1, ("A01", "A02"))
    assert "2 by neither (A01, A02)" in "\n".join(
        summary.lines(dataclasses.replace(REPORT, attacks=untried, audit=audit))
    )


def test_the_committed_document_is_what_the_committed_report_makes() -> None:
    committed, document = DOCS / "release-report.json", DOCS / "attacks.md"
    assert committed.exists() == document.exists()
    if committed.exists():
        text = attack_document.markdown(report.decode(committed.read_bytes()))
        assert document.read_text("utf-8") == text


def test_the_command_prints_the_document_of_the_report_that_it_is_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "report.json").write_bytes(report.encode(REPORT))
    assert command.main(["--report", str(tmp_path / "report.json")]) == 0
    assert capsys.readouterr().out == attack_document.markdown(REPORT)
