# SPDX-License-Identifier: Apache-2.0
"""What a run of the bench says: the machine's name and a row for each goal, as text, Markdown and JSON."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mantlet.edge.accelerator import Accelerator
from mantlet.edge.bench.outcome import Outcome, outcome_to_value

_MODEL = re.compile(r"^model name\s*:\s*(.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The machine that was measured on."""

    processor: str
    cores: int
    kernel: str
    accelerator: Accelerator

    @property
    def shown(self) -> str:
        """One line, without a host name."""
        return f"{self.processor}, {self.cores} cores, {self.kernel}, guests by {self.accelerator.said}"


def host(accelerator: Accelerator) -> Host:
    """Ask the machine that this runs on what it is."""
    found = _MODEL.search(Path("/proc/cpuinfo").read_text("utf-8"))
    system = os.uname()
    return Host(
        processor=" ".join(found[1].split()) if found else system.machine,
        cores=len(os.sched_getaffinity(0)),
        kernel=f"{system.sysname} {system.release}",
        accelerator=accelerator,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One run."""

    host: Host
    rounds: int
    outcomes: tuple[Outcome, ...]


def text_lines(report: Report) -> Iterator[str]:
    """Yield the report for a terminal."""
    yield f"machine  {report.host.shown}"
    yield f"rounds   {report.rounds}, in turns; values are medians, with their range"
    for outcome in report.outcomes:
        value, bound = _value(outcome), f"≤ {_plain(outcome)}"
        yield f"{outcome.name:<10} {value:>10}  {bound:<10} {outcome.verdict:<7} {outcome.goal}"
        for samples in outcome.samples:
            yield f"{'':10}   {samples.shown}"
        yield f"{'':10}   {outcome.how}"


def markdown(report: Report) -> str:
    """The report as a document of its own."""
    rows: Sequence[str] = [
        f"| {outcome.goal} | {_value(outcome)} | ≤ {_plain(outcome)} | {outcome.verdict} "
        f"| {'; '.join(samples.shown for samples in outcome.samples)} | {outcome.how} |"
        for outcome in report.outcomes
    ]
    return "\n".join(
        [
            "# Benchmarks",
            "",
            "Written by `just bench --write`. A ratio is of medians that were taken in turns, in one run;",
            "MB is a million bytes.",
            "",
            f"- machine: {report.host.shown}",
            f"- rounds: {report.rounds}",
            "",
            "| goal | found | bound | | samples | how |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def report_to_value(report: Report) -> dict[str, object]:
    """Return the report as JSON."""
    return {
        "machine": {
            "processor": report.host.processor,
            "cores": report.host.cores,
            "kernel": report.host.kernel,
            "accelerator": report.host.accelerator.value,
        },
        "rounds": report.rounds,
        "met": all(outcome.met for outcome in report.outcomes),
        "outcomes": [outcome_to_value(outcome) for outcome in report.outcomes],
    }


def _value(outcome: Outcome) -> str:
    return outcome.unit.shown(outcome.value)


def _plain(outcome: Outcome) -> str:
    return f"{outcome.bound:g} {outcome.unit.value}"
