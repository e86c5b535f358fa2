# SPDX-License-Identifier: Apache-2.0
"""The sealed key: a data key wrapped for one TPM's storage root key (docs/formats.md, *Sealed key*).

Owns the document alone. `mantlet.weights` makes one, the agent opens it, and the TPM structures inside are
opaque here: nothing in this document is secret and nothing in it is trusted before the TPM has accepted it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mantlet_measure import strictjson
from mantlet_measure.deployment import ID_PATTERN
from mantlet_measure.strictjson import Fields, base64_text

FORMAT = "mantlet-sealed-key/v1"
_LIMIT = 64 << 10
_STRUCTURE = 1024
_APPROVALS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """The policy key's signature (TPMT_SIGNATURE) over one PolicyPCR digest and the policy reference."""

    policy: bytes
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedKey:
    """What TPM2_Import takes (public, duplicate, seed), and who approves of which policy."""

    model: str
    root_hash: bytes
    object_public: bytes
    duplicate: bytes
    encrypted_seed: bytes
    policy_key: bytes
    policy_ref: str
    approvals: tuple[Approval, ...]


def policy_reference(model: str) -> str:
    """Return the policy reference of a model's keys."""
    return f"mantlet/weights/{model}"


def decode(data: bytes) -> SealedKey:
    """Decode a sealed key of at most 64 KiB. DecodeError on anything else."""
    what = "sealed key"
    fields = Fields(strictjson.decode(data, what=what, limit=_LIMIT), what)
    fields.constant("format", FORMAT)
    model = fields.text("model", pattern=ID_PATTERN)
    fields.constant("policy_ref", policy_reference(model))
    approvals = fields.sequence("approvals", limit=_APPROVALS)
    if not approvals:
        fields.refuse("approvals", "at least one")
    sealed = SealedKey(
        model=model,
        root_hash=fields.hex("root_hash", 32),
        object_public=fields.base64("object_public", _STRUCTURE),
        duplicate=fields.base64("duplicate", _STRUCTURE),
        encrypted_seed=fields.base64("encrypted_seed", _STRUCTURE),
        policy_key=fields.base64("policy_key", _STRUCTURE),
        policy_ref=policy_reference(model),
        approvals=tuple(_approval(item, f"{what}: approval {index}") for index, item in enumerate(approvals)),
    )
    fields.done()
    return sealed


def _approval(value: object, what: str) -> Approval:
    fields = Fields(value, what)
    approval = Approval(policy=fields.hex("policy", 32), signature=fields.base64("signature", _STRUCTURE))
    fields.done()
    return approval


def encode(sealed: SealedKey) -> bytes:
    """Encode a sealed key as canonical JSON."""
    document: Mapping[str, object] = {
        "format": FORMAT,
        "model": sealed.model,
        "root_hash": sealed.root_hash.hex(),
        "object_public": base64_text(sealed.object_public),
        "duplicate": base64_text(sealed.duplicate),
        "encrypted_seed": base64_text(sealed.encrypted_seed),
        "policy_key": base64_text(sealed.policy_key),
        "policy_ref": sealed.policy_ref,
        "approvals": [
            {"policy": approval.policy.hex(), "signature": base64_text(approval.signature)}
            for approval in sealed.approvals
        ],
    }
    return strictjson.encode(document)
