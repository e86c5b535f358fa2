# SPDX-License-Identifier: Apache-2.0
"""The deployment: the document that the machine runs, signed by a trusted key and measured into register 15.

Follows docs/formats.md, *Deployment document* and *Agent words*. The digest of the runtime's declaration is
in no document: it comes out of the authentic log, and register 9 to 13 vouch for the image that holds the
declaration. A burnt login fuse is one word behind the others; whether it is put up with, the policy says.
"""

import hashlib
import re
from dataclasses import dataclass
from itertools import zip_longest

from mantlet.release.manifest import ImageIdentity
from mantlet.verifier.policy import FusePolicy, Trust
from mantlet.verifier.replay import AuthenticEvents
from mantlet.verifier.steps import Checks
from mantlet_measure import dsse
from mantlet_measure.deployment import PAYLOAD_TYPE, Deployment, decode
from mantlet_measure.evidence import Evidence, State
from mantlet_measure.pcr import Event
from mantlet_measure.words import FUSE_EVENT, FuseKind, agent_events, fuse_event, fuse_kind

_RUNTIME = re.compile(r"mantlet:runtime:([0-9a-f]{64})")
_BURNT_HINT = (
    "somebody is, or was, on this machine: send it nothing, and power it off; the next boot has a new fuse"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredDeployment:
    """A signed deployment, and what register 15 must be made of in the state that the machine claims.

    burnt: why the login fuse has burnt, if it has and the policy accepts that.
    """

    deployment: Deployment
    runtime_sha256: bytes
    expected: tuple[Event, ...]
    burnt: FuseKind | None = None


def authenticate_deployment(
    evidence: Evidence, events: AuthenticEvents, *, image: ImageIdentity, manifest_sha256: bytes, trust: Trust
) -> MeasuredDeployment:
    """Check signature, content and measurement of the document. RefusedError, SignatureError or
    DecodeError."""
    payload = dsse.authenticate(evidence.deployment, keys=trust.deployment_keys, payload_type=PAYLOAD_TYPE)
    document = decode(payload)
    checks = Checks()
    checks.equal("manifest of the deployment", expected=manifest_sha256, observed=document.manifest_sha256)
    checks.equal(
        "image of the deployment",
        expected=f"{image.id} {image.version}",
        observed=f"{document.image_id} {document.image_version}",
    )
    runtime = _runtime_digest(events, checks)
    burnt = _burnt(events)
    if burnt is not None and trust.policy.fuse is not FusePolicy.ACCEPT:
        checks.fault("login fuse", expected="not burnt", observed=f"burnt, {burnt.value}: {burnt.meaning}")
        checks.refuse(hint=_BURNT_HINT)
    measured = expected_deployment(payload, runtime_sha256=runtime, state=evidence.state, burnt=burnt)
    words = [f"{event.type}: {event.description}" for event in measured.expected]
    logged = [f"{record.event}: {record.word}" for record in events.agent_records]
    for number, (word, said) in enumerate(zip_longest(words, logged, fillvalue="none"), start=1):
        checks.equal(f"agent word {number}", expected=word, observed=said)
    checks.done(
        hint=f"the machine does not run this deployment in state {evidence.state}, or its document is for "
        "another release: deploy the document of this release to it"
    )
    return measured


def expected_deployment(
    payload: bytes, *, runtime_sha256: bytes, state: State, burnt: FuseKind | None = None
) -> MeasuredDeployment:
    """Decode a document whose signature was checked, and compute what it makes of register 15 in `state`.

    burnt: why the login fuse has burnt; None for a machine whose fuse holds.
    """
    document = decode(payload)
    expected = agent_events(
        deployment_sha256=hashlib.sha256(payload).digest(),
        runtime_sha256=runtime_sha256,
        root_hash=document.model.root_hash,
        capped=state is State.SERVING,
    )
    if burnt is not None:
        expected = (*expected, fuse_event(burnt))
    return MeasuredDeployment(
        deployment=document, runtime_sha256=runtime_sha256, expected=expected, burnt=burnt
    )


def _burnt(events: AuthenticEvents) -> FuseKind | None:
    """Return why the fuse has burnt, by the agent's last word; None if that is another word."""
    last = events.agent_records[-1:]
    return next((fuse_kind(record.word) for record in last if record.event == FUSE_EVENT), None)


def _runtime_digest(events: AuthenticEvents, checks: Checks) -> bytes:
    """Return the digest in the agent's word `runtime`; zeros, and a finding, if there is none."""
    for record in events.agent_records:
        found = _RUNTIME.fullmatch(record.word)
        if record.event == "runtime" and found is not None:
            return bytes.fromhex(found[1])
    checks.fault("agent log", expected="the word mantlet:runtime:<sha256>", observed="none")
    return bytes(32)
