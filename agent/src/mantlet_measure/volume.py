# SPDX-License-Identifier: Apache-2.0
"""Slots of the deployment volume (docs/formats.md, *Deployment volume*).

Owns the layout and the header of a slot. The header's digest finds torn writes and proves nothing to anybody:
what a slot holds is authenticated by whoever reads it. The reading and writing of the disk is not here.
"""

import hashlib

from mantlet_measure.errors import DecodeError
from mantlet_measure.reader import Reader

PARTITION = "mantlet-deployment"
MAGIC = b"MANTLET1"
HEADER_SIZE = 4096
SLOT_SIZE = 262144
DOCUMENT_OFFSET = 0
SEALED_KEY_OFFSET = 262144
APPROVALS_OFFSET = 524288
EPOCH_OFFSET = 786432
PAYLOAD_LIMIT = SLOT_SIZE - HEADER_SIZE


def encode_slot(payload: bytes) -> bytes:
    """Return header and payload. A writer puts the payload down first, syncs, then the header.

    ValueError when the payload is empty or larger than a slot.
    """
    if not 0 < len(payload) <= PAYLOAD_LIMIT:
        raise ValueError(f"a slot holds 1 to {PAYLOAD_LIMIT} bytes, not {len(payload)}")
    header = MAGIC + len(payload).to_bytes(8, "little") + hashlib.sha256(payload).digest()
    return header.ljust(HEADER_SIZE, b"\0") + payload


def decode_slot(raw: bytes) -> bytes | None:
    """Return the payload of a slot read from its first byte on, or None if the slot is empty.

    `raw` may be longer than header and payload, as a slot read whole is. DecodeError on a torn or foreign
    slot.
    """
    what = "deployment volume"
    reader = Reader(raw, what)
    header = reader.take(HEADER_SIZE)
    if not any(header):
        return None
    fields = Reader(header, what)
    if (magic := fields.take(len(MAGIC))) != MAGIC:
        fields.refuse(expected=str(MAGIC), found=str(magic), offset=0)
    size = fields.u64le()
    if not 0 < size <= PAYLOAD_LIMIT:
        fields.refuse(expected=f"a payload of 1 to {PAYLOAD_LIMIT} bytes", found=str(size), offset=len(MAGIC))
    digest = fields.take(32)
    if any(fields.rest()):
        raise DecodeError(
            what, expected="zeros behind the header", found="other bytes", offset=len(MAGIC) + 40
        )
    payload = reader.take(size)
    if hashlib.sha256(payload).digest() != digest:
        raise DecodeError(what, expected=f"SHA-256 {digest.hex()}", found=hashlib.sha256(payload).hexdigest())
    return payload
