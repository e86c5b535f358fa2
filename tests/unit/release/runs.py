# SPDX-License-Identifier: Apache-2.0
"""Runs of the whole battery, as `mantlet attack` writes them, with verdicts put in."""

from collections.abc import Sequence

from mantlet.attack import catalogue
from mantlet.attack.document import Outcome, Results
from mantlet.attack.judge import Verdict
from mantlet.attack.model import Attack, Control
from mantlet.edge import operator_access

RULES = tuple((rule.id, rule.attack) for rule in operator_access.read().rules)
DIGEST = "5a" * 32


def outcome_of(known: Attack, *, verdict: Verdict = Verdict.INERT) -> Outcome:
    """An outcome of an attack whose control worked; a limit that showed as one."""
    limit = known.control is Control.LIMIT
    return Outcome(
        id=known.id,
        title=known.title,
        rules=tuple(rule for rule, name in RULES if name == known.name),
        verdict=Verdict.LIMIT if limit else verdict,
        control=known.control.value,
        control_verdict=None if limit else Verdict.BREACH,
        reasons=(),
        facts=("ended: serving",),
        control_facts=("ended: off",),
        seconds=7,
        control_seconds=9,
    )


def run_of(
    image: str, version: str, manifest_sha256: str, *, attacks: Sequence[Attack] = catalogue.CATALOGUE
) -> Results:
    """A run of these attacks on an image, each of them inert."""
    return Results(
        image=image,
        version=version,
        manifest_sha256=manifest_sha256,
        weakened_sha256=DIGEST,
        platform={"accelerator": "tcg", "firmware": "OVMF 1", "qemu": "QEMU 2", "swtpm": "swtpm 3"},
        plain_seconds=38,
        outcomes=tuple(outcome_of(known) for known in attacks),
    )
