# SPDX-License-Identifier: Apache-2.0
"""How long a release report takes to be put together, of a finished audit and results of every attack."""

import time

from mantlet.edge import operator_access, release_files
from mantlet.edge.bench.outcome import Outcome, single, take_turns
from mantlet.edge.bench.site import Site
from mantlet.release import report
from mantlet.release.attack_results import Attack, AttackResults, Build, Verdict

_VERSIONS = {"firmware": "none", "qemu": "none", "swtpm": "none"}


def measure(site: Site) -> tuple[Outcome, ...]:
    """From an audit and results to the bytes of the report, read back once."""
    build, described = release_files.build_of(site.build)
    audit, attacks = release_files.audit_of(site.build), _untried(build)

    def run() -> float:
        started = time.monotonic()
        report.encode(release_files.assembled(described, audit, attacks))
        return time.monotonic() - started

    (samples,) = take_turns(site.rounds, ("report", run))
    how = f"{len(audit.checks)} checks, {len(attacks.attacks)} attacks, none run; without the audit"
    goal = "release report, of a finished audit"
    return (single(samples, name="report", goal=goal, bound=2.0, how=how),)


def _untried(build: Build) -> AttackResults:
    """Results of each attack that the rules name, in which none was run."""
    rules = operator_access.read().rules
    names = sorted({rule.attack for rule in rules if rule.attack is not None})
    attacks = (
        Attack(
            id=name,
            title=name,
            rules=tuple(sorted(rule.id for rule in rules if rule.attack == name)),
            verdict=Verdict.NOT_RUN,
            control=None,
            facts=(),
        )
        for name in names
    )
    return AttackResults(build=build, versions=_VERSIONS, attacks=tuple(attacks))
