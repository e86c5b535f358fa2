# SPDX-License-Identifier: Apache-2.0
"""How long a release report takes to be put together, of a finished audit and a run of every attack."""

import hashlib
import time

from mantlet.attack import catalogue, document
from mantlet.attack.document import Outcome, Results
from mantlet.attack.judge import Verdict
from mantlet.edge import files, release_attacks, release_files
from mantlet.edge.bench.outcome import Outcome as Measured
from mantlet.edge.bench.outcome import single, take_turns
from mantlet.edge.bench.site import Site
from mantlet.release import report


def measure(site: Site) -> tuple[Measured, ...]:
    """From an audit and the file of a run to the bytes of the report, read back once."""
    build, described = release_files.build_of(site.build)
    audit, path = release_files.audit_of(site.build, None), site.folder / "attacks.json"
    named = [(rule.id, rule.attack) for rule in release_files.promises()]
    files.write_atomic(path, document.encode(_untried(named)))

    def run() -> float:
        started = time.monotonic()
        attacked = release_attacks.read(path, rules=named)
        report.encode(release_files.assembled(build, described, audit=audit, attacked=attacked))
        return time.monotonic() - started

    (samples,) = take_turns(site.rounds, ("report", run))
    how = f"{len(audit.checks)} checks, {len(catalogue.CATALOGUE)} attacks, none run; without the audit"
    goal = "release report, of a finished audit"
    return (single(samples, name="report", goal=goal, bound=2.0, how=how),)


def _untried(named: list[tuple[str, str | None]]) -> Results:
    """A run in which no attack was tried."""
    nothing = hashlib.sha256().hexdigest()
    outcomes = (
        Outcome(
            id=known.id,
            title=known.title,
            rules=tuple(rule for rule, name in named if name == known.name),
            verdict=Verdict.NOT_RUN,
            control=known.control.value,
            control_verdict=None,
            reasons=("only measured",),
            facts=(),
            control_facts=(),
            seconds=0,
            control_seconds=0,
        )
        for known in catalogue.CATALOGUE
    )
    return Results(
        image="none",
        version="none",
        manifest_sha256=nothing,
        weakened_sha256=nothing,
        platform=dict.fromkeys(("accelerator", "firmware", "qemu", "swtpm"), "none"),
        plain_seconds=0,
        outcomes=tuple(outcomes),
    )
