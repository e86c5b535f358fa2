# SPDX-License-Identifier: Apache-2.0
"""The attestation result: evidence that was accepted, and what may be relied on because of it (RFC 9334,
8.4).

Owns the type and its JSON. Only `mantlet.verifier.verify` makes one.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mantlet.verifier.steps import StepResult, step_to_value
from mantlet_measure.deployment import Deployment
from mantlet_measure.evidence import State
from mantlet_measure.pcr import Bank
from mantlet_measure.words import FuseKind


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestationResult:
    """Evidence that was accepted, and what may be relied on because of it.

    registers: the enforced registers of each bank, equal to the reference values and to what the TPM signed.
    burnt: why the machine's login fuse has burnt; None if it has not.
    """

    headline: str
    steps: tuple[StepResult, ...]
    state: State
    policy: str
    platform: str
    image_id: str
    image_version: str
    manifest_sha256: bytes
    deployment: Deployment
    runtime_sha256: bytes
    tls_spki_sha256: bytes
    attestation_key_name: bytes
    storage_key_public: bytes
    burnt: FuseKind | None
    tpm: str
    registers: Mapping[Bank, Mapping[int, bytes]]
    proves: tuple[str, ...]
    does_not_prove: tuple[str, ...]


def result_to_value(result: AttestationResult) -> dict[str, object]:
    """Return an attestation result as JSON."""
    return {
        "verdict": "accepted",
        "headline": result.headline,
        "policy": result.policy,
        "platform": result.platform,
        "state": result.state.value,
        "image": {"id": result.image_id, "version": result.image_version},
        "manifest_sha256": result.manifest_sha256.hex(),
        "deployment": result.deployment.id,
        "model": {"id": result.deployment.model.id, "root_hash": result.deployment.model.root_hash.hex()},
        "policy_key": result.deployment.policy_key.hex(),
        "runtime_sha256": result.runtime_sha256.hex(),
        "tls_spki_sha256": result.tls_spki_sha256.hex(),
        "attestation_key": result.attestation_key_name.hex(),
        "fuse": "not burnt" if result.burnt is None else result.burnt.value,
        "tpm": result.tpm,
        "proves": list(result.proves),
        "does_not_prove": list(result.does_not_prove),
        "steps": [step_to_value(step) for step in result.steps],
    }
