# SPDX-License-Identifier: Apache-2.0
"""The approvals of a model's key: which boots may open it, and up to which epoch (docs/formats.md,
*Approvals*).

Owns the document alone. It is the same for every machine of a release, and it is not secret. Nothing in it is
trusted before the TPM has checked the signature that its policy wants; the image that an approval names is
for people.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mantlet_measure import strictjson
from mantlet_measure.deployment import EPOCH_LIMIT, ID_PATTERN, VERSION_PATTERN
from mantlet_measure.strictjson import Fields, base64_text

FORMAT = "mantlet-approvals/v1"
WHAT = "approvals"
LIMIT = 64
_SIZE_LIMIT = 128 << 10
_STRUCTURE = 1024
_REFERENCE_PATTERN = rf"mantlet/weights/{ID_PATTERN}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """The image whose boot is approved, by name."""

    id: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """The policy key's signature (TPMT_SIGNATURE) over one policy digest and the policy reference.

    policy: PolicyPCR of the boot, then PolicyNV that the counter does not stand above `epoch`.
    """

    policy: bytes
    epoch: int
    signature: bytes
    image: Image


@dataclass(frozen=True, slots=True, kw_only=True)
class Approvals:
    """All approvals that one policy key (TPMT_PUBLIC) gives for one purpose, at least one and at most 64."""

    policy_key: bytes
    policy_ref: str
    approvals: tuple[Approval, ...]


def decode(data: bytes) -> Approvals:
    """Decode approvals of at most 128 KiB. DecodeError on anything else."""
    return from_fields(Fields(strictjson.decode(data, what=WHAT, limit=_SIZE_LIMIT), WHAT))


def from_fields(fields: Fields) -> Approvals:
    """Take approvals out of their JSON object. DecodeError on anything else."""
    fields.constant("format", FORMAT)
    listed = fields.sequence("approvals", limit=LIMIT)
    if not listed:
        fields.refuse("approvals", "at least one")
    approvals = Approvals(
        policy_key=fields.base64("policy_key", _STRUCTURE),
        policy_ref=fields.text("policy_ref", pattern=_REFERENCE_PATTERN, limit=128),
        approvals=tuple(_approval(item, f"{WHAT}: approval {index}") for index, item in enumerate(listed)),
    )
    fields.done()
    return approvals


def _approval(value: object, what: str) -> Approval:
    fields = Fields(value, what)
    image = fields.fields("image")
    approval = Approval(
        policy=fields.hex("policy", 32),
        epoch=fields.integer("epoch", 1, EPOCH_LIMIT),
        signature=fields.base64("signature", _STRUCTURE),
        image=Image(
            id=image.text("id", pattern=ID_PATTERN), version=image.text("version", pattern=VERSION_PATTERN)
        ),
    )
    image.done()
    fields.done()
    return approval


def to_value(approvals: Approvals) -> Mapping[str, object]:
    """Return the approvals as JSON has them."""
    return {
        "format": FORMAT,
        "policy_key": base64_text(approvals.policy_key),
        "policy_ref": approvals.policy_ref,
        "approvals": [
            {
                "policy": approval.policy.hex(),
                "epoch": approval.epoch,
                "signature": base64_text(approval.signature),
                "image": {"id": approval.image.id, "version": approval.image.version},
            }
            for approval in approvals.approvals
        ],
    }


def encode(approvals: Approvals) -> bytes:
    """Encode approvals as canonical JSON."""
    return strictjson.encode(to_value(approvals))
