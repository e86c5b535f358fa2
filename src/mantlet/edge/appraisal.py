# SPDX-License-Identifier: Apache-2.0
"""Reads what a verification takes for granted: manifest, policy, endorsement roots, deployment keys, policy
key.

Owns the files and their outer forms (YAML, PEM); what they mean is decoded by the pure rooms. The clock and
the randomness of a verification are taken here too.
"""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from mantlet.client.attest import Question
from mantlet.edge import files, strict_yaml
from mantlet.verifier import policy
from mantlet.verifier.policy import AppraisalPolicy, Trust
from mantlet.weights.approve import policy_key_public
from mantlet_measure.errors import DecodeError
from mantlet_measure.evidence import State
from mantlet_measure.tpm_structs import name

_LIMIT = 1 << 20
_PUBLIC_KEY_END = b"-----END PUBLIC KEY-----"


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Where the parts of a verification are."""

    manifest: Path
    policy: Path
    ek_roots: Path
    deployment_key: Path


def question(source: Files, *, platform: str | None, expected_state: State) -> Question:
    """Read the files and ask the clock. DecodeError on content, OSError on files that cannot be read."""
    trust = Trust(
        policy=read_policy(source.policy),
        ek_certificates=read_certificates(source.ek_roots),
        deployment_keys=read_deployment_keys(source.deployment_key),
        platform=platform,
    )
    return Question(
        manifest=files.read(source.manifest, limit=_LIMIT, what="manifest"),
        trust=trust,
        expected_state=expected_state,
        entropy=secrets.token_bytes,
        now=datetime.now(UTC),
    )


def read_policy(path: Path) -> AppraisalPolicy:
    """Read an appraisal policy. YAML anchors and duplicate keys are refused: what is read is what is
    written."""
    return policy.decode(strict_yaml.read(path, what="appraisal policy"))


def read_certificates(path: Path) -> tuple[x509.Certificate, ...]:
    """Read the certificates of a PEM file, at least one."""
    data = files.read(path, limit=_LIMIT, what="endorsement roots")
    try:
        return tuple(x509.load_pem_x509_certificates(data))
    except (ValueError, x509.InvalidVersion) as error:
        raise DecodeError(
            f"endorsement roots {path}",
            expected="X.509 certificates in PEM",
            found=str(error),
            hint="pass the TPM manufacturer's CA certificates, root and intermediates, in one PEM file",
        ) from None


def read_deployment_keys(path: Path) -> tuple[Ed25519PublicKey, ...]:
    """Read the public keys that may sign deployments: concatenated PEM, Ed25519, at least one."""
    return read_signing_keys(path, what="deployment keys")


def read_signing_keys(path: Path, *, what: str) -> tuple[Ed25519PublicKey, ...]:
    """Read public keys; `what` names them in errors: concatenated PEM, Ed25519, at least one."""
    data = files.read(path, limit=_LIMIT, what=what)
    blocks = [block + _PUBLIC_KEY_END for block in data.split(_PUBLIC_KEY_END)[:-1]]
    keys: list[Ed25519PublicKey] = []
    for block in blocks:
        try:
            key = load_pem_public_key(block)
        except (ValueError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, Ed25519PublicKey):
            raise _key_error(path, what, "Ed25519 public keys in PEM")
        keys.append(key)
    if not keys:
        raise _key_error(path, what, "Ed25519 public keys in PEM")
    return tuple(keys)


def read_policy_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Read the private key that approves boot states: PEM, P-256, not encrypted."""
    try:
        key = load_pem_private_key(files.read(path, limit=_LIMIT, what="policy key"), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _key_error(path, "policy key", "an unencrypted EC private key in PEM") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise _key_error(path, "policy key", "an EC private key")
    return key


def read_policy_key_name(path: Path) -> bytes:
    """Read a policy key, or its public half, and return its Name: 34 bytes. DecodeError on another kind."""
    data = files.read(path, limit=_LIMIT, what="policy key")
    if b"PRIVATE KEY-----" in data:
        return name(policy_key_public(read_policy_key(path).public_key()))
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise _key_error(path, "policy key", "an EC key in PEM") from None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise _key_error(path, "policy key", "an EC key")
    return name(policy_key_public(key))


def _key_error(path: Path, what: str, expected: str) -> DecodeError:
    return DecodeError(
        f"{what} {path}",
        expected=expected,
        found="something else",
        hint="check that this option names the right file",
    )
