# SPDX-License-Identifier: Apache-2.0
"""The results of a run as one canonical JSON document (policies/schema/attacks.json), and its decoding.

Owns the format. It holds no time and no path: the same results are the same bytes.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from mantlet.attack.judge import Verdict
from mantlet_measure import strictjson
from mantlet_measure.errors import DecodeError
from mantlet_measure.strictjson import Fields

FORMAT = "mantlet-attacks/v1"
_WHAT = "attacks"
_LIMIT = 4 << 20
_ATTACKS, _ITEMS = 1024, 512
_NAME, _RULE = r"[a-z0-9]+(-[a-z0-9]+)*", r"[A-Z][0-9]{2}"
_LINE, _DIGEST = r"[^\n]{1,400}", r"[0-9a-f]{64}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One attack as it ended.

    verdict: of both boots together; control: what was weaker, and `control_verdict`: how that boot ended, or
    None where there is none; reasons: of a breach, a void control or what was not run; facts and
    control_facts: what the boots showed; seconds: its share of the attacked boot, from power-on to the last
    look; control_seconds: of all else that the attack took.
    """

    id: str
    title: str
    rules: tuple[str, ...]
    verdict: Verdict
    control: str
    control_verdict: Verdict | None
    reasons: tuple[str, ...]
    facts: tuple[str, ...]
    control_facts: tuple[str, ...]
    seconds: int
    control_seconds: int

    @property
    def evidence(self) -> str:
        """SHA-256 of what was seen, in hexadecimal."""
        return hashlib.sha256(strictjson.encode([list(self.facts), list(self.control_facts)])).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """A run: of which image and which weakened one, on what, and every outcome by attack in order.

    platform: versions of emulator, firmware, TPM and accelerator, by name; plain_seconds: one plain boot.
    """

    image: str
    version: str
    manifest_sha256: str
    weakened_sha256: str
    platform: Mapping[str, str]
    plain_seconds: int
    outcomes: tuple[Outcome, ...]

    @property
    def accepted(self) -> bool:
        """Whether every attack failed, each with a control that shows that it would have been seen."""
        return all(outcome.verdict.accepted for outcome in self.outcomes)


def encode(results: Results) -> bytes:
    """Encode in canonical form."""
    return strictjson.encode(to_value(results))


def to_value(results: Results) -> dict[str, object]:
    """Return the results as JSON."""
    return {
        "format": FORMAT,
        "image": {
            "id": results.image,
            "version": results.version,
            "manifest_sha256": results.manifest_sha256,
        },
        "weakened": {"manifest_sha256": results.weakened_sha256},
        "platform": dict(results.platform),
        "plain_seconds": results.plain_seconds,
        "attacks": [outcome_to_value(outcome) for outcome in results.outcomes],
    }


def outcome_to_value(outcome: Outcome) -> dict[str, object]:
    """Return one outcome as JSON."""
    control: dict[str, object] = {
        "kind": outcome.control,
        "facts": list(outcome.control_facts),
        "seconds": outcome.control_seconds,
    }
    if outcome.control_verdict is not None:
        control["verdict"] = outcome.control_verdict.value
    return {
        "id": outcome.id,
        "title": outcome.title,
        "rules": list(outcome.rules),
        "verdict": outcome.verdict.value,
        "control": control,
        "reasons": list(outcome.reasons),
        "facts": list(outcome.facts),
        "evidence_sha256": outcome.evidence,
        "seconds": outcome.seconds,
    }


def decode(data: bytes) -> Results:
    """Decode results of at most 4 MiB. DecodeError on anything else."""
    fields = Fields(strictjson.decode(data, what=_WHAT, limit=_LIMIT), _WHAT)
    fields.constant("format", FORMAT)
    image, weakened, platform = fields.fields("image"), fields.fields("weakened"), fields.fields("platform")
    results = Results(
        image=image.text("id", pattern=_LINE),
        version=image.text("version", pattern=_LINE),
        manifest_sha256=image.text("manifest_sha256", pattern=_DIGEST),
        weakened_sha256=weakened.text("manifest_sha256", pattern=_DIGEST),
        platform={
            name: platform.text(name, pattern=_LINE) for name in ("accelerator", "firmware", "qemu", "swtpm")
        },
        plain_seconds=fields.integer("plain_seconds", 0, 1 << 20),
        outcomes=tuple(outcome_from_value(item) for item in fields.sequence("attacks", limit=_ATTACKS)),
    )
    for each in (image, weakened, platform, fields):
        each.done()
    names = [outcome.id for outcome in results.outcomes]
    if not names or len(set(names)) != len(names):
        raise DecodeError(_WHAT, expected="attacks, each once", found=f"{len(names)}")
    return results


def outcome_from_value(value: object) -> Outcome:
    """Decode one outcome. DecodeError on anything else."""
    fields = Fields(value, f"{_WHAT}: attack")
    name = fields.text("id", pattern=_NAME)
    fields.what = f"{_WHAT}: {name}"
    control = fields.fields("control")
    verdicts = "|".join(Verdict)
    outcome = Outcome(
        id=name,
        title=fields.text("title", pattern=_LINE),
        rules=_texts(fields, "rules", _RULE),
        verdict=Verdict(fields.text("verdict", pattern=verdicts)),
        control=control.text("kind", pattern=_NAME),
        control_verdict=Verdict(control.text("verdict", pattern=verdicts))
        if control.has("verdict")
        else None,
        reasons=_texts(fields, "reasons", _LINE),
        facts=_texts(fields, "facts", _LINE),
        control_facts=_texts(control, "facts", _LINE),
        seconds=fields.integer("seconds", 0, 1 << 20),
        control_seconds=control.integer("seconds", 0, 1 << 20),
    )
    found = fields.text("evidence_sha256", pattern=_DIGEST)
    control.done()
    fields.done()
    if found != outcome.evidence:
        fields.refuse("evidence_sha256", "the digest of the facts")
    return outcome


def _texts(fields: Fields, name: str, pattern: str) -> tuple[str, ...]:
    listed = fields.sequence(name, limit=_ITEMS)
    texts = Fields({str(number): item for number, item in enumerate(listed)}, f"{fields.what}: {name}")
    return tuple(texts.text(str(number), pattern=pattern) for number in range(len(listed)))
