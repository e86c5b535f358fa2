# SPDX-License-Identifier: Apache-2.0
"""What a machine that awaits its key is given: a sealed key and its approvals, in one object
(docs/formats.md, *Evidence*).

Owns the document alone. Each part is kept in a slot of its own once both have proved good.
"""

from dataclasses import dataclass

from mantlet_measure import approvals as approval_documents
from mantlet_measure import sealed as sealed_keys
from mantlet_measure import strictjson
from mantlet_measure.approvals import Approvals
from mantlet_measure.sealed import SealedKey
from mantlet_measure.strictjson import Fields

FORMAT = "mantlet-handover/v1"
WHAT = "handover"
LIMIT = 192 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """A sealed key, and who may open it."""

    sealed_key: SealedKey
    approvals: Approvals


def decode(data: bytes) -> Handover:
    """Decode a handover of at most 192 KiB. DecodeError on anything else."""
    fields = Fields(strictjson.decode(data, what=WHAT, limit=LIMIT), WHAT)
    fields.constant("format", FORMAT)
    handover = Handover(
        sealed_key=sealed_keys.from_fields(fields.fields("sealed_key")),
        approvals=approval_documents.from_fields(fields.fields("approvals")),
    )
    fields.done()
    return handover


def encode(handover: Handover) -> bytes:
    """Encode a handover as canonical JSON."""
    return strictjson.encode(
        {
            "format": FORMAT,
            "sealed_key": sealed_keys.to_value(handover.sealed_key),
            "approvals": approval_documents.to_value(handover.approvals),
        }
    )
