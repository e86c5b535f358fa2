# SPDX-License-Identifier: Apache-2.0
"""DSSE envelopes signed with Ed25519 (secure-systems-lab DSSE v1.0.2, docs/formats.md).

Owns the pre-authentication encoding, the envelope's JSON and the threshold check. `authenticate` is the only
way from an envelope to a payload that may be believed; what the payload says is its own module's matter.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mantlet_measure import strictjson
from mantlet_measure.errors import DecodeError, MantletError
from mantlet_measure.strictjson import Fields

LIMIT = 1 << 20
_SIGNATURES = 16


class SignatureError(MantletError):
    """An envelope that too few trusted keys have signed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """One signature; `keyid` is the SHA-256 of the raw public key, in hexadecimal."""

    keyid: str
    sig: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A payload with its signatures, none of them checked yet."""

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...]


def keyid(public: Ed25519PublicKey) -> str:
    """Return the key's identifier: SHA-256 of its 32 raw bytes, in hexadecimal."""
    return hashlib.sha256(public.public_bytes_raw()).hexdigest()


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes that are signed (DSSE, protocol.md, *PAE*)."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign(payload_type: str, payload: bytes, keys: Sequence[Ed25519PrivateKey]) -> Envelope:
    """Sign `payload` with every key, in the order given."""
    message = pae(payload_type, payload)
    return Envelope(
        payload_type=payload_type,
        payload=payload,
        signatures=tuple(Signature(keyid=keyid(key.public_key()), sig=key.sign(message)) for key in keys),
    )


def from_value(value: object, *, what: str = "DSSE envelope") -> Envelope:
    """Build an envelope from decoded JSON. DecodeError on anything else."""
    fields = Fields(value, what)
    envelope = Envelope(
        payload_type=fields.text("payloadType", pattern=r"[!-~]+", limit=255),
        payload=fields.base64("payload", LIMIT),
        signatures=tuple(
            _signature(item, f"{what}: signature {index}")
            for index, item in enumerate(fields.sequence("signatures", limit=_SIGNATURES))
        ),
    )
    fields.done()
    if len({signature.keyid for signature in envelope.signatures}) != len(envelope.signatures):
        raise DecodeError(what, expected="one signature a key", found="two of the same keyid")
    return envelope


def _signature(value: object, what: str) -> Signature:
    fields = Fields(value, what)
    signature = Signature(keyid=fields.hex("keyid", 32).hex(), sig=fields.base64("sig", 64))
    fields.done()
    return signature


def to_value(envelope: Envelope) -> Mapping[str, object]:
    """Return the envelope as the JSON value that `from_value` reads."""
    return {
        "payload": strictjson.base64_text(envelope.payload),
        "payloadType": envelope.payload_type,
        "signatures": [
            {"keyid": signature.keyid, "sig": strictjson.base64_text(signature.sig)}
            for signature in envelope.signatures
        ],
    }


def decode(data: bytes) -> Envelope:
    """Decode an envelope of at most 2 MiB. DecodeError on anything else."""
    return from_value(strictjson.decode(data, what="DSSE envelope", limit=2 * LIMIT))


def encode(envelope: Envelope) -> bytes:
    """Encode an envelope as canonical JSON."""
    return strictjson.encode(to_value(envelope))


def authenticate(
    envelope: Envelope, *, keys: Sequence[Ed25519PublicKey], payload_type: str, threshold: int = 1
) -> bytes:
    """Return the payload once `threshold` different keys of `keys` have signed it as `payload_type`.

    Signatures of unknown keys count for nothing. A wrong signature under the name of a trusted key refuses
    the whole. SignatureError; ValueError when the threshold is below one.
    """
    if threshold < 1:
        raise ValueError("a threshold of zero would accept anything")
    # The type is inside the signature, but whoever reads the payload must also want that type.
    if envelope.payload_type != payload_type:
        raise SignatureError(
            f"DSSE envelope: expected payload type {payload_type}, found {envelope.payload_type}",
            hint="hand over the envelope of the right document",
        )
    trusted = {keyid(key): key for key in keys}
    message = pae(envelope.payload_type, envelope.payload)
    signed: set[str] = set()
    for signature in envelope.signatures:
        key = trusted.get(signature.keyid)
        if key is None:
            continue
        try:
            key.verify(signature.sig, message)
        except InvalidSignature:
            raise SignatureError(
                f"DSSE envelope: expected a signature of key {signature.keyid}, "
                "found one that does not match the payload",
                hint="the document was changed after it was signed: sign it again",
            ) from None
        signed.add(signature.keyid)
    if len(signed) < threshold:
        found = ", ".join(signature.keyid for signature in envelope.signatures) or "no signature"
        raise SignatureError(
            f"DSSE envelope: expected {threshold} signatures out of {len(trusted)} trusted keys, "
            f"found {len(signed)} (signed by: {found})",
            hint="sign the document with a key that is trusted here",
        )
    return envelope.payload
