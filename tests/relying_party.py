# SPDX-License-Identifier: Apache-2.0
"""A relying party for tests: asks a simulated machine for evidence and verifies it, with one thing changed at
a time."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

import pytest

from mantlet.verifier.credential import Credential
from mantlet.verifier.policy import AppraisalPolicy, SoftwareTpm, Trust
from mantlet.verifier.quote import Session
from mantlet.verifier.result import AttestationResult
from mantlet.verifier.steps import Outcome, Step, VerificationError
from mantlet.verifier.verify import Request, verify
from mantlet_measure import evidence as evidence_format
from mantlet_measure.evidence import Evidence, State
from mantlet_measure.pcr import ENFORCED
from tests.authority import NOW
from tests.boot_events import PLATFORM
from tests.machine import Machine, fresh_nonce

POLICY = AppraisalPolicy(
    name="test",
    platforms=(PLATFORM,),
    registers=ENFORCED,
    software_tpm=SoftwareTpm.ACCEPT,
    software_models=("swtpm",),
)


@dataclass(frozen=True, kw_only=True)
class RelyingParty:
    """Whom it trusts and what it asks for; `of` gives one that trusts what made the machine."""

    manifest: bytes
    trust: Trust
    state: State = State.SERVING
    now: datetime = NOW
    session: Session = field(
        default_factory=lambda: Session(nonce=fresh_nonce(), tls_spki_sha256=secrets.token_bytes(32))
    )

    @classmethod
    def of(cls, machine: Machine, *, state: State = State.SERVING, now: datetime = NOW) -> "RelyingParty":
        """Return a party that trusts the machine's manufacturer, release and deployment key."""
        trust = Trust(
            policy=POLICY,
            ek_certificates=machine.authority.certificates,
            deployment_keys=(machine.deployment_key.public_key(),),
        )
        return cls(manifest=machine.manifest, trust=trust, state=state, now=now)

    def ask(self, machine: Machine) -> Evidence:
        """Ask for evidence over this party's nonce and connection."""
        return machine.evidence(self.session.nonce, self.session.tls_spki_sha256)

    def verify(self, evidence: Evidence, activate: Callable[[Credential], bytes]) -> AttestationResult:
        """Verify evidence as it goes over the wire."""
        return self.verify_bytes(evidence_format.encode(evidence), activate)

    def verify_bytes(self, data: bytes, activate: Callable[[Credential], bytes]) -> AttestationResult:
        """Verify the bytes of an answer."""
        request = Request(
            session=self.session,
            manifest=self.manifest,
            trust=self.trust,
            expected_state=self.state,
            entropy=secrets.token_bytes,
            now=self.now,
        )
        return verify(data, request, activate=activate)


@contextmanager
def refused(at: Step, *, because: str) -> Iterator[None]:
    """Expect a refusal at this step, with a finding that says `because`, all steps listed and a hint."""
    with pytest.raises(VerificationError) as caught:
        yield
    error = caught.value
    said = [f"{item.subject}: expected {item.expected}, observed {item.observed}" for item in error.findings]
    assert error.step == at, error.message
    assert any(because in text for text in said), said
    assert error.hint
    assert [step.number for step in error.steps] == list(Step)
    outcomes = [step.outcome for step in error.steps]
    assert outcomes == [Outcome.PASS] * (at - 1) + [Outcome.REFUSE] + [Outcome.NOT_REACHED] * (11 - at)
