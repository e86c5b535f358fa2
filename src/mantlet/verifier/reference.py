# SPDX-License-Identifier: Apache-2.0
"""Appraisal against reference values: every enforced register, both banks, and where it parted from the
expected path.

Follows docs/formats.md, *measurements.json*. A register that differs is explained by comparing the manifest's
events with the log's. The explanation uses what the log claims of its events; the refusal rests on the quoted
value alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mantlet.release.manifest import Manifest, Platform
from mantlet.verifier.deployment import MeasuredDeployment
from mantlet.verifier.policy import Trust
from mantlet.verifier.replay import AuthenticEvents
from mantlet.verifier.steps import Checks, Finding, RefusedError
from mantlet_measure.pcr import Bank, Event, Register, replay

_HINT = "the machine did not boot the release of this manifest, or not on this platform: do not trust it"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceEvent:
    """An expected event: its digest in one bank, and what it is."""

    digest: bytes
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What one register must hold in one bank, and the events that make it."""

    value: bytes
    events: tuple[ReferenceEvent, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceValues:
    """The reference values of one platform, for one deployment in one state."""

    platform: str
    banks: Mapping[Bank, Mapping[int, Reference]]

    @property
    def registers(self) -> tuple[int, ...]:
        """The enforced registers, ascending."""
        return tuple(sorted(self.banks[Bank.SHA256]))

    @property
    def values(self) -> Mapping[Bank, Mapping[int, bytes]]:
        """The value of each enforced register, per bank."""
        return {
            bank: {register: item.value for register, item in references.items()}
            for bank, references in self.banks.items()
        }


def choose_platform(manifest: Manifest, trust: Trust) -> str:
    """Return the platform whose reference values apply. RefusedError if there is none, or more than one."""
    known = [name for name in manifest.platforms if name in trust.policy.platforms]
    chosen = [name for name in known if trust.platform in (None, name)]
    if len(chosen) == 1:
        return chosen[0]
    wanted = trust.platform or " or ".join(trust.policy.platforms)
    found = ", ".join(manifest.platforms) or "none"
    raise RefusedError(
        [
            Finding(
                subject="platform",
                expected=f"reference values of one of {wanted}",
                observed=f"those of {found}",
            )
        ],
        hint="name one of the manifest's platforms that the policy takes with --platform",
    )


def reference_values(manifest: Manifest, trust: Trust, measured: MeasuredDeployment) -> ReferenceValues:
    """Take the enforced registers out of the manifest, and register 15 out of the deployment's words."""
    name = choose_platform(manifest, trust)
    platform = manifest.platforms[name]
    missing = sorted(set(trust.policy.registers) - set(platform.enforced))
    if missing:
        raise RefusedError(
            [
                Finding(
                    subject="manifest",
                    expected=f"registers {_list(trust.policy.registers)} enforced",
                    observed=f"no reference value for {_list(missing)}",
                )
            ],
            hint="the release is weaker than the policy wants: get one that pins these registers",
        )
    return ReferenceValues(
        platform=name, banks={bank: _bank(platform, bank, measured.expected) for bank in Bank}
    )


def appraise(events: AuthenticEvents, reference: ReferenceValues) -> None:
    """Compare every enforced register of both banks. RefusedError with one finding for each that differs."""
    checks = Checks()
    for register in reference.registers:
        for bank, references in reference.banks.items():
            quoted = events.quote.registers[bank][register]
            expected = references[register]
            if quoted != expected.value:
                difference = _first_difference(expected.events, events.of(register), bank)
                checks.fault(
                    f"register {register} ({_title(register)}), {bank}",
                    expected=expected.value.hex(),
                    observed=f"{quoted.hex()}: {difference}",
                )
    checks.done(hint=_HINT)


def _bank(platform: Platform, bank: Bank, words: Sequence[Event]) -> Mapping[int, Reference]:
    references: dict[int, Reference] = {}
    for register in platform.enforced:
        expected = platform.banks[bank][register]
        listed = tuple(
            ReferenceEvent(digest=event.digest, text=_text(event.type, event.description))
            for event in expected.events
        )
        if register != Register.SYSTEM_IDENTITY:
            references[register] = Reference(value=expected.value, events=listed)
            continue
        # docs/formats.md: the manifest gives register 15 as the agent finds it; the rest are the agent's
        # words.
        said = tuple(
            ReferenceEvent(digest=word.digests[bank], text=_text(word.claimed_type, word.description))
            for word in words
        )
        value = replay(bank, (word.digest for word in said), start=expected.value)
        references[register] = Reference(value=value, events=listed + said)
    return references


def _first_difference(expected: Sequence[ReferenceEvent], logged: Sequence[Event], bank: Bank) -> str:
    """Say in words where the log parts from the reference events."""
    for number, (wanted, found) in enumerate(zip(expected, logged, strict=False), start=1):
        if wanted.digest != found.digests[bank]:
            return (
                f"event {number} should be {wanted.text}, but the machine measured "
                f"{_text(found.claimed_type, found.description)} as {found.digests[bank].hex()[:16]}…"
            )
    if len(logged) < len(expected):
        return f"event {len(logged) + 1}, {expected[len(logged)].text}, was never measured"
    # Both values are folds of their events, so lists that agree so far cannot be of one length.
    extra = logged[len(expected)]
    return (
        f"the machine measured one event more, number {len(expected) + 1}: "
        f"{_text(extra.claimed_type, extra.description)}"
    )


def _text(kind: str, description: str) -> str:
    return f"{kind or 'an event'} “{description}”" if description else kind or "an event without a name"


def _title(register: int) -> str:
    return Register(register).name.lower().replace("_", "-")


def _list(registers: Iterable[int]) -> str:
    return ", ".join(map(str, registers))
