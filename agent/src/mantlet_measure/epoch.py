# SPDX-License-Identifier: Apache-2.0
"""The statement that raises machines to an epoch (docs/formats.md, *Epoch statement*).

Owns the document alone. It raises nothing by itself: the TPM increments its counter only under the signature,
and only while the counter stands below the epoch. So it may come from anywhere, any number of times.
"""

from dataclasses import dataclass

from mantlet_measure import strictjson
from mantlet_measure.deployment import EPOCH_LIMIT
from mantlet_measure.strictjson import Fields, base64_text

FORMAT = "mantlet-epoch/v1"
WHAT = "epoch statement"
_LIMIT = 16 << 10
_STRUCTURE = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochStatement:
    """The policy key's signature (TPMT_SIGNATURE) over PolicyNV(counter < epoch) and `mantlet/epoch`.

    policy_key: TPMT_PUBLIC; policy: the digest that was signed.
    """

    epoch: int
    policy_key: bytes
    policy: bytes
    signature: bytes


def decode(data: bytes) -> EpochStatement:
    """Decode an epoch statement of at most 16 KiB. DecodeError on anything else."""
    fields = Fields(strictjson.decode(data, what=WHAT, limit=_LIMIT), WHAT)
    fields.constant("format", FORMAT)
    statement = EpochStatement(
        epoch=fields.integer("epoch", 1, EPOCH_LIMIT),
        policy_key=fields.base64("policy_key", _STRUCTURE),
        policy=fields.hex("policy", 32),
        signature=fields.base64("signature", _STRUCTURE),
    )
    fields.done()
    return statement


def encode(statement: EpochStatement) -> bytes:
    """Encode an epoch statement as canonical JSON."""
    return strictjson.encode(
        {
            "format": FORMAT,
            "epoch": statement.epoch,
            "policy_key": base64_text(statement.policy_key),
            "policy": statement.policy.hex(),
            "signature": base64_text(statement.signature),
        }
    )
