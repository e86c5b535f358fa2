# SPDX-License-Identifier: Apache-2.0
"""Appraisal against reference values: every enforced register, both banks, and where it parted from the
expected path.

Follows docs/formats.md, *measurements.json*. What makes a register differ is put into words by
`mantlet.explain`, partly from what the log claims of its events; the refusal rests on the quoted value alone.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from mantlet.explain import account
from mantlet.explain.account import Account
from mantlet.explain.explanation import explain
from mantlet.explain.registers import title
from mantlet.release.reference_values import Manifest
from mantlet.verifier.deployment import MeasuredDeployment
from mantlet.verifier.policy import Trust
from mantlet.verifier.replay import AuthenticEvents
from mantlet.verifier.steps import Checks, Finding, RefusedError
from mantlet_measure.pcr import BANKS, Bank

_HINT = "the machine did not boot the release of this manifest, or not on this platform: do not trust it"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceValues:
    """The reference values of one platform, for one deployment in one state: enforced registers alone."""

    platform: str
    account: Account

    @property
    def registers(self) -> tuple[int, ...]:
        """The enforced registers, ascending."""
        return tuple(sorted(self.account.registers))

    @property
    def values(self) -> Mapping[Bank, Mapping[int, bytes]]:
        """The value of each enforced register, per bank."""
        return {
            bank: {register: self.account.registers[register].values[bank] for register in self.registers}
            for bank in BANKS
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
    told = account.of_manifest(manifest, name, name=f"{manifest.image.id} {manifest.image.version}")
    enforced = {register: told.registers[register] for register in platform.enforced}
    # docs/formats.md: the manifest gives register 15 as the agent finds it; the rest are the agent's words.
    return ReferenceValues(
        platform=name,
        account=account.with_words(replace(told, registers=enforced, notes=()), measured.expected),
    )


def appraise(events: AuthenticEvents, reference: ReferenceValues) -> None:
    """Compare every enforced register of both banks. RefusedError with one finding for each that differs."""
    quoted = events.quote.registers
    differing = [
        (register, bank)
        for register in reference.registers
        for bank, expected in reference.values.items()
        if quoted[bank][register] != expected[register]
    ]
    if not differing:
        return
    words = _explained(events, reference)
    checks = Checks()
    for register, bank in differing:
        checks.fault(
            f"register {register} ({title(register)}), {bank}",
            expected=reference.values[bank][register].hex(),
            observed=f"{quoted[bank][register].hex()}: {words.get(register, 'nothing explains it')}",
        )
    checks.done(hint=_HINT)


def _explained(events: AuthenticEvents, reference: ReferenceValues) -> Mapping[int, str]:
    """Say for each register that differs what the first reason is."""
    observed = account.of_events(
        events.events, name="the machine", banks=BANKS, values=events.quote.registers
    )
    words: dict[int, str] = {}
    for finding in explain(reference.account, observed).findings:
        for register in finding.registers:
            first = register == finding.registers[0]
            words.setdefault(register, finding.headline if first else f"see {finding.words}")
    return words


def _list(registers: Iterable[int]) -> str:
    return ", ".join(map(str, registers))
