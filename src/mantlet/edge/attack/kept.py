# SPDX-License-Identifier: Apache-2.0
"""Outcomes that a later run takes up again: one file for each attack, under a key of all that they depend on.

Owns the key: both builds, the battery's engine, the machine, and the families of the attacks that share a
boot. What was decided about another image, by another engine, on another machine or in other company is run
anew; an attack added to one family makes no other family's outcomes stale.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mantlet.attack import catalogue
from mantlet.attack.document import Outcome, outcome_from_value, outcome_to_value
from mantlet.attack.judge import Verdict
from mantlet.attack.model import Attack
from mantlet.edge import files
from mantlet.edge.attack.stand import Stand
from mantlet_measure import strictjson

_LIMIT = 1 << 20
_PACKAGE = Path(__file__).parents[2]
# The machine: its devices, its processor and its TPM.
_MACHINE = ("edge/machine.py", "edge/accelerator.py", "edge/software_tpm.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The outcomes of attacks on two builds, in a folder."""

    folder: Path
    production: Stand
    weakened: Stand

    def keep(self, attack: Attack, outcome: Outcome) -> None:
        """Write an outcome down."""
        self.folder.mkdir(parents=True, exist_ok=True)
        value = {"key": self._key(attack), "outcome": outcome_to_value(outcome)}
        files.write_atomic(self._path(attack), strictjson.encode(value))

    def find(self, attack: Attack) -> Outcome | None:
        """Return the outcome of an earlier run of the same, unless it says nothing."""
        path = self._path(attack)
        if not path.exists():
            return None
        fields = strictjson.Fields(
            strictjson.decode(files.read(path, limit=_LIMIT, what="outcome"), what=str(path)), str(path)
        )
        if fields.text("key") != self._key(attack):
            return None
        outcome = outcome_from_value(fields.value("outcome"))
        return None if outcome.verdict in (Verdict.NOT_RUN, Verdict.VOID) else outcome

    def _path(self, attack: Attack) -> Path:
        return self.folder / f"{attack.id}.json"

    def _key(self, attack: Attack) -> str:
        manifests = [manifest_sha256(stand) for stand in (self.production, self.weakened)]
        return hashlib.sha256("\n".join((*manifests, source_sha256(attack), attack.id)).encode()).hexdigest()


def manifest_sha256(stand: Stand) -> str:
    """The digest by which documents name a build."""
    data = files.read(stand.built.path("measurements.json"), limit=_LIMIT, what="manifest")
    return hashlib.sha256(data).hexdigest()


def source_sha256(attack: Attack) -> str:
    """Return a digest of the source that an outcome depends on."""
    folder = _PACKAGE / "attack" / "catalogue"
    engine = [
        path
        for part in ("attack", "edge/attack")
        for path in (_PACKAGE / part).rglob("*.py")
        if path.parent != folder
    ]
    families = {folder / f"{catalogue.family(each)}.py" for each in catalogue.beside(attack)}
    machine = (_PACKAGE / name for name in _MACHINE)
    return _digest((*engine, *machine, *families))


def _digest(paths: Iterable[Path]) -> str:
    found = hashlib.sha256()
    for path in sorted(paths):
        data = path.read_bytes()
        found.update(f"{path.relative_to(_PACKAGE)} {len(data)}\n".encode())
        found.update(data)
    return found.hexdigest()
