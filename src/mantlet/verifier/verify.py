# SPDX-License-Identifier: Apache-2.0
"""The verification as a whole: eleven numbered steps from received bytes to an attestation result.

Owns the order of the steps and the words of the verdict; each step's checks are in the module that it calls.
It asks the machine one thing, through the `activate` that it is given, and knows the time only from `now`.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from mantlet.release.manifest import Manifest
from mantlet.release.manifest import decode as decode_manifest
from mantlet.tpm.protected_storage import Entropy
from mantlet.verifier import quote as quotes
from mantlet.verifier.credential import Activate, BoundKey, bind
from mantlet.verifier.deployment import MeasuredDeployment, authenticate_deployment
from mantlet.verifier.endorsement import endorse
from mantlet.verifier.keys import attestation_key
from mantlet.verifier.policy import SoftwareTpm, Trust
from mantlet.verifier.quote import CertifiedStorageKey, Session
from mantlet.verifier.reference import appraise, reference_values
from mantlet.verifier.replay import REPLAYED, AuthenticEvents, replay
from mantlet.verifier.result import AttestationResult
from mantlet.verifier.steps import Checks, Ledger, Step
from mantlet_measure import evidence as evidence_format
from mantlet_measure.evidence import Evidence, State

_PROVES = (
    "the machine booted the image of this manifest, unchanged, with Secure Boot on and these boot options",
    "its agent measured this signed deployment, this runtime and these weights, and nothing else",
    "the private TLS key of this connection is in the hands of the software that the TPM vouched for",
    "the answer is fresh: it was made for this nonce, in the boot that is running now",
)
_FUSE_HOLDS = "the machine's own watch has seen nothing start, log in or be traced outside its list"
_DOES_NOT_PROVE = (
    "that memory is hidden from whoever owns the hypervisor: it is not, unless the platform encrypts it",
    "that registers 0 to 3, 5, 6 and 10 are right: they are recorded, and not compared",
    "what the logs say of their events: only the digests and their order are proven",
    "that the image does what its maker says: this proves which image it is",
    "that no other machine runs the same image: it is one genuine machine, not a particular one",
)
_SOFTWARE = (
    "anything against whoever runs this machine: with a software TPM, that person can forge all of the above"
)
_STATE_HINTS = {
    State.AWAITING_KEY: "the machine waits for the key of its weights: `mantlet weights seal --to HOST:PORT`",
    State.SERVING: "the machine already serves: ask for --state serving",
}
_BURNT = "that nobody is on the machine: its login fuse has burnt, which this policy accepts"
_UNSEEN = (
    "that no attack went unseen: the watch sees programs that start, not what a running one is made to do"
)
_VIRTUAL = "that the owner of a virtual TPM is honest: where the TPM is the hypervisor's, he is trusted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a verification takes for granted: its own session, the release in hand, whom it trusts, what it
    asks for.

    session: the nonce sent and the TLS key seen; manifest: measurements.json as published, which must come
    from the release and never from the machine; entropy: unpredictable bytes for the credential; now: an
    aware datetime.
    """

    session: Session
    manifest: bytes
    trust: Trust
    expected_state: State
    entropy: Entropy
    now: datetime

    @property
    def manifest_sha256(self) -> bytes:
        """The digest that evidence and deployment must name."""
        return hashlib.sha256(self.manifest).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measurements:
    """What steps 5 to 8 establish."""

    storage_key: CertifiedStorageKey
    events: AuthenticEvents


def verify(data: bytes, request: Request, *, activate: Activate) -> AttestationResult:
    """Verify evidence as received, and return what may be relied on.

    data: the body of the answer; activate: has the machine activate a credential (step 4). Raises
    VerificationError with all steps and all findings of the step that refused; DecodeError for the manifest;
    UnavailableError, from `activate`, when the machine could not be asked. The caller must have taken the
    session's TLS key from the connection itself, and must send prompts on no other.

     1  decode the evidence; it echoes the nonce
     2  the EK certificate chains to a trusted root, valid now
     3  the AK is restricted to what the TPM makes
     4  the AK is in the TPM of the EK: the machine gives back the secret of a credential
     5  the quote: signed by the AK, registers 0 to 15 of both banks, digest of the values in hand
     6  the quote is bound to nonce, TLS key and manifest
     7  the SRK is certified by the AK, in the same boot
     8  the three logs replay to the quoted values of every register but IMA's
     9  the deployment document: signed by a trusted key, for this manifest, measured word for word; the login
        fuse has not burnt
    10  every enforced register equals its reference value
    11  the state is the one asked for
    """
    manifest = decode_manifest(request.manifest)
    ledger = Ledger(headline=request.trust.policy.headline)
    # (1)
    with ledger.step(Step.EVIDENCE) as step:
        evidence = _decode(data, request.session)
        step.passed(
            expected=f"nonce {_short(request.session.nonce)}", observed=f"{len(data)} bytes, nonce echoed"
        )
    key = _identify(evidence, request, ledger, activate)  # (2) to (4)
    measurements = _measure(evidence, request, ledger, key)  # (5) to (8)
    return _appraise(evidence, request, ledger, (manifest, key, measurements))  # (9) to (11)


def _identify(evidence: Evidence, request: Request, ledger: Ledger, activate: Activate) -> BoundKey:
    # (2)
    with ledger.step(Step.ENDORSEMENT) as step:
        endorsed = endorse(evidence.ek_certificate, trust=request.trust, now=request.now)
        step.passed(
            expected=f"one of {len(request.trust.ek_certificates)} trusted certificates",
            observed=f"TPM {endorsed.model} ({endorsed.manufacturer}), certified by {endorsed.root}",
        )
    # (3)
    with ledger.step(Step.ATTESTATION_KEY) as step:
        attesting = attestation_key(evidence.ak_public)
        step.passed(
            expected="restricted, sign, fixedTPM, fixedParent, sensitiveDataOrigin; ECDSA P-256 SHA-256",
            observed=f"so it is; name {_short(attesting.name)}",
        )
    # (4)
    with ledger.step(Step.BINDING) as step:
        key = bind(attesting, endorsed, activate=activate, entropy=request.entropy)
        step.passed(expected="the secret of the credential", observed="the TPM gave it back")
    return key


def _measure(evidence: Evidence, request: Request, ledger: Ledger, key: BoundKey) -> _Measurements:
    session, manifest_sha256 = request.session, request.manifest_sha256
    # (5)
    with ledger.step(Step.QUOTE) as step:
        quote = quotes.authenticate(evidence, key)
        clock = quote.attest.clock
        step.passed(
            expected="ECDSA by the attestation key over registers 0-15, sha256 and sha384",
            observed=f"so it is; boot {clock.reset_count}.{clock.restart_count}, "
            f"clock {'safe' if clock.safe else 'not safe (it may have been set back)'}",
        )
    # (6)
    with ledger.step(Step.FRESHNESS) as step:
        quotes.check_freshness(quote, evidence, session=session, manifest_sha256=manifest_sha256)
        step.passed(
            expected=f"TLS key {_short(session.tls_spki_sha256)}, manifest {_short(manifest_sha256)}",
            observed="both, and the nonce, in what the TPM signed",
        )
    # (7)
    with ledger.step(Step.STORAGE_KEY) as step:
        storage_key = quotes.certify_storage_key(
            evidence.srk, key, quote, session=session, manifest_sha256=manifest_sha256
        )
        step.passed(
            expected="restricted, decrypt, fixedTPM, fixedParent, sensitiveDataOrigin; P-256, AES-128-CFB",
            observed=f"so it is; name {_short(storage_key.name)}",
        )
    # (8)
    with ledger.step(Step.LOGS) as step:
        events = replay(evidence, quote)
        step.passed(
            expected=f"{len(REPLAYED)} registers of 2 banks (10 is the kernel's own)",
            observed=f"{len(events.events)} events replay to all of them",
        )
    return _Measurements(storage_key=storage_key, events=events)


def _appraise(
    evidence: Evidence,
    request: Request,
    ledger: Ledger,
    established: tuple[Manifest, BoundKey, _Measurements],
) -> AttestationResult:
    manifest, key, measurements = established
    image = manifest.image
    # (9)
    with ledger.step(Step.DEPLOYMENT) as step:
        measured = authenticate_deployment(
            evidence,
            measurements.events,
            image=image,
            manifest_sha256=request.manifest_sha256,
            trust=request.trust,
        )
        document = measured.deployment
        step.passed(
            expected=f"signed by one of {len(request.trust.deployment_keys)} keys, and measured",
            observed=f"deployment {document.id}, model {document.model.id}, "
            f"runtime {document.runtime} {_short(measured.runtime_sha256)}, "
            f"policy key {_short(document.policy_key)}; "
            f"login fuse {'not burnt' if measured.burnt is None else 'BURNT, ' + measured.burnt.value}",
        )
    # (10)
    with ledger.step(Step.REFERENCE_VALUES) as step:
        reference = reference_values(manifest, request.trust, measured)
        appraise(measurements.events, reference)
        step.passed(
            expected=f"{reference.platform}: {', '.join(map(str, reference.registers))}, both banks",
            observed=f"equal; image {image.id} {image.version}",
        )
    # (11)
    with ledger.step(Step.STATE) as step:
        checks = Checks()
        checks.equal("state", expected=request.expected_state.value, observed=evidence.state.value)
        checks.done(hint=_STATE_HINTS[evidence.state])
        step.passed(expected=request.expected_state.value, observed=evidence.state.value)
    return AttestationResult(
        headline=request.trust.policy.headline,
        steps=ledger.passed(),
        state=evidence.state,
        policy=request.trust.policy.name,
        platform=reference.platform,
        image_id=image.id,
        image_version=image.version,
        manifest_sha256=request.manifest_sha256,
        deployment=document,
        runtime_sha256=measured.runtime_sha256,
        tls_spki_sha256=request.session.tls_spki_sha256,
        attestation_key_name=key.attestation_key.name,
        storage_key_public=measurements.storage_key.public,
        burnt=measured.burnt,
        tpm=f"{key.endorsement_key.model} ({key.endorsement_key.manufacturer})",
        registers=reference.values,
        proves=_PROVES if measured.burnt is not None else (*_PROVES, _FUSE_HOLDS),
        does_not_prove=_not_proven(request, measured),
    )


def _not_proven(request: Request, measured: MeasuredDeployment) -> tuple[str, ...]:
    return (
        *_DOES_NOT_PROVE,
        _UNSEEN if measured.burnt is None else _BURNT,
        _SOFTWARE if request.trust.policy.software_tpm is SoftwareTpm.ACCEPT else _VIRTUAL,
    )


def _decode(data: bytes, session: Session) -> Evidence:
    evidence = evidence_format.decode(data)
    checks = Checks()
    checks.equal("nonce", expected=session.nonce, observed=evidence.nonce)
    checks.done(
        hint="the evidence answers another question, perhaps an old one: ask again with a fresh nonce"
    )
    return evidence


def _short(digest: bytes) -> str:
    """Enough of a digest or name for the eye; `--json` has it whole."""
    return f"{digest.hex()[:16]}…"
