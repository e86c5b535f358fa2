# SPDX-License-Identifier: Apache-2.0
"""What `mantlet attack` found, as a release report takes it.

Owns the way from the one document to the other: times are left out, ids are sorted, and an attack that this
version knows and the run did not have is there as one that was not run. Results of a battery that tries other
rules than this version are refused.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mantlet.attack import catalogue, document
from mantlet.attack.document import Outcome
from mantlet.attack.model import Attack as Known
from mantlet.edge import files
from mantlet.release.attack_results import Attack, Control, Verdict
from mantlet.release.build import ReleasedImage
from mantlet_measure.errors import MantletError

_LIMIT = 4 << 20
_ABSENT = "not part of the run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attacked:
    """Results: of which image, by its name and the SHA-256 of its manifest; on what; what came of them."""

    image: tuple[str, str]
    manifest_sha256: bytes
    weakened_sha256: bytes
    versions: Mapping[str, str]
    attacks: tuple[Attack, ...]

    def require(self, image: ReleasedImage, manifest_sha256: bytes) -> None:
        """Refuse results of another build."""
        if (self.manifest_sha256, *self.image) != (manifest_sha256, image.id, image.version):
            raise MantletError(
                f"attacks: expected those on {image.id} {image.version} with the manifest "
                f"{manifest_sha256.hex()}, found {self.image[0]} {self.image[1]} with "
                f"{self.manifest_sha256.hex()}",
                hint="attack this build, and take the results of that",
            )


def read(path: Path, *, rules: Iterable[tuple[str, str | None]]) -> Attacked:
    """Read the results of a run. rules: ids of rules with the attack that each names.

    Raises DecodeError on what is no such document, MantletError on attacks that tried other rules than these.
    """
    results = document.decode(files.read(path, limit=_LIMIT, what="results of attacks"))
    named: dict[str, list[str]] = {}
    for rule, name in rules:
        named.setdefault(name or "", []).append(rule)
    tried = {known.id: tuple(sorted(named.get(known.name, ()))) for known in catalogue.CATALOGUE}
    found = {outcome.id: _attack(outcome, tried) for outcome in results.outcomes}
    absent = {
        known.id: _absent(known, tried[known.id]) for known in catalogue.CATALOGUE if known.id not in found
    }
    return Attacked(
        image=(results.image, results.version),
        manifest_sha256=bytes.fromhex(results.manifest_sha256),
        weakened_sha256=bytes.fromhex(results.weakened_sha256),
        versions=results.platform,
        attacks=tuple(attack for _, attack in sorted((found | absent).items())),
    )


def _attack(outcome: Outcome, tried: Mapping[str, tuple[str, ...]]) -> Attack:
    rules = tuple(sorted(outcome.rules))
    if tried.get(outcome.id) != rules:
        raise MantletError(
            f"attack {outcome.id}: expected it to try {', '.join(tried.get(outcome.id, ())) or 'nothing'}, "
            f"as the rules say, found {', '.join(rules) or 'nothing'}",
            hint="attack with the version of this tool that makes the report",
        )
    control = outcome.control_verdict
    return Attack(
        id=outcome.id,
        title=outcome.title,
        rules=rules,
        verdict=Verdict(outcome.verdict),
        control=Control(
            kind=outcome.control,
            verdict=None if control is None else Verdict(control),
            facts=outcome.control_facts,
        ),
        reasons=outcome.reasons,
        facts=outcome.facts,
    )


def _absent(known: Known, rules: tuple[str, ...]) -> Attack:
    return Attack(
        id=known.id,
        title=known.title,
        rules=rules,
        verdict=Verdict.NOT_RUN,
        control=Control(kind=known.control.value, verdict=None, facts=()),
        reasons=(_ABSENT,),
        facts=(),
    )
