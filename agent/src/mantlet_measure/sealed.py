# SPDX-License-Identifier: Apache-2.0
"""The sealed key: a data key wrapped for one TPM's storage root key (docs/formats.md, *Sealed key*).

Owns the document alone. `mantlet.weights` makes one, the agent opens it, and the TPM structures inside are
opaque here: nothing in this document is secret and nothing in it is trusted before the TPM has accepted it.
Which boots may open it is not said here: `approvals` says that.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mantlet_measure import strictjson
from mantlet_measure.deployment import ID_PATTERN
from mantlet_measure.strictjson import Fields, base64_text

FORMAT = "mantlet-sealed-key/v1"
WHAT = "sealed key"
KEY_ID_SIZE = 16
_LIMIT = 64 << 10
_STRUCTURE = 1024
_NAME_SIZE = 34


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedKey:
    """What TPM2_Import takes (public, duplicate, seed), for which TPM, and who approves of boots.

    key_id: 16 bytes that name the data key; srk_name: 34 bytes, the Name of the storage root key.
    """

    model: str
    root_hash: bytes
    key_id: bytes
    srk_name: bytes
    object_public: bytes
    duplicate: bytes
    encrypted_seed: bytes
    policy_key: bytes
    policy_ref: str


def policy_reference(model: str) -> str:
    """Return the policy reference of a model's keys."""
    return f"mantlet/weights/{model}"


def decode(data: bytes) -> SealedKey:
    """Decode a sealed key of at most 64 KiB. DecodeError on anything else."""
    return from_fields(Fields(strictjson.decode(data, what=WHAT, limit=_LIMIT), WHAT))


def from_fields(fields: Fields) -> SealedKey:
    """Take a sealed key out of its JSON object. DecodeError on anything else."""
    fields.constant("format", FORMAT)
    model = fields.text("model", pattern=ID_PATTERN)
    fields.constant("policy_ref", policy_reference(model))
    sealed = SealedKey(
        model=model,
        root_hash=fields.hex("root_hash", 32),
        key_id=fields.hex("key_id", KEY_ID_SIZE),
        srk_name=fields.hex("srk_name", _NAME_SIZE),
        object_public=fields.base64("object_public", _STRUCTURE),
        duplicate=fields.base64("duplicate", _STRUCTURE),
        encrypted_seed=fields.base64("encrypted_seed", _STRUCTURE),
        policy_key=fields.base64("policy_key", _STRUCTURE),
        policy_ref=policy_reference(model),
    )
    fields.done()
    return sealed


def to_value(sealed: SealedKey) -> Mapping[str, object]:
    """Return the sealed key as JSON has it."""
    return {
        "format": FORMAT,
        "model": sealed.model,
        "root_hash": sealed.root_hash.hex(),
        "key_id": sealed.key_id.hex(),
        "srk_name": sealed.srk_name.hex(),
        "object_public": base64_text(sealed.object_public),
        "duplicate": base64_text(sealed.duplicate),
        "encrypted_seed": base64_text(sealed.encrypted_seed),
        "policy_key": base64_text(sealed.policy_key),
        "policy_ref": sealed.policy_ref,
    }


def encode(sealed: SealedKey) -> bytes:
    """Encode a sealed key as canonical JSON."""
    return strictjson.encode(to_value(sealed))
