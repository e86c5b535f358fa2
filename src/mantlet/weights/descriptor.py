# SPDX-License-Identifier: Apache-2.0
"""The descriptor of a weights pack, signed by the model's owner (docs/formats.md, *Weights pack*).

Owns its members, its canonical bytes, and the way from a signed envelope to a descriptor that may be
believed. Where the keys come from is decided by the caller; the body of a pack is `mantlet.weights.pack`'s
matter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mantlet.weights import pack, stream
from mantlet_measure import dsse, strictjson
from mantlet_measure.deployment import Model, model_from_fields, model_to_value
from mantlet_measure.dsse import Envelope
from mantlet_measure.errors import DecodeError
from mantlet_measure.strictjson import Fields

FORMAT = "mantlet-pack/v1"
PAYLOAD_TYPE = "application/vnd.mantlet.pack+json"
KEY_ID_SIZE = 16

_WHAT = "pack descriptor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """What lies beside a pack: the deployment document's model object, and what names ciphertext and key.

    ciphertext_sha256: of the partition's `model.body_size` bytes; key_id: 16 bytes, the data key's name.
    """

    model: Model
    ciphertext_sha256: bytes
    key_id: bytes


def encode(descriptor: Descriptor) -> bytes:
    """Return the canonical JSON of a descriptor: what is signed."""
    return strictjson.encode(to_value(descriptor))


def to_value(descriptor: Descriptor) -> Mapping[str, object]:
    """Return a descriptor as the JSON object that is signed."""
    return {
        "format": FORMAT,
        "model": model_to_value(descriptor.model),
        **_cipher_to_value(descriptor.model),
        "ciphertext_sha256": descriptor.ciphertext_sha256.hex(),
        "key_id": descriptor.key_id.hex(),
    }


def decode(payload: bytes) -> Descriptor:
    """Decode the canonical bytes of a descriptor. DecodeError on anything else.

    It believes whoever wrote it: `authenticate` comes first.
    """
    fields = Fields(strictjson.decode(payload, what=_WHAT), _WHAT)
    fields.constant("format", FORMAT)
    members = fields.fields("model")
    model = model_from_fields(members)
    members.done()
    if model.stream is None:
        fields.constant("cipher", pack.CIPHER)
        fields.integer("sector_size", pack.SECTOR, pack.SECTOR)
    else:
        fields.constant("cipher", stream.CIPHER)
    descriptor = Descriptor(
        model=model,
        ciphertext_sha256=fields.hex("ciphertext_sha256", 32),
        key_id=fields.hex("key_id", KEY_ID_SIZE),
    )
    fields.done()
    if model.salt != pack.salt(model.id):
        members.refuse("salt", f"the salt of model {model.id}, {pack.salt(model.id).hex()}")
    _check_layout(model, members)
    if encode(descriptor) != payload:
        raise DecodeError(_WHAT, expected="canonical JSON", found="another spelling of the same descriptor")
    return descriptor


def _check_layout(model: Model, members: Fields) -> None:
    """Refuse room that the hash tree does not cover: in a pack there is nothing that nothing verifies."""
    if model.hash_offset < 2 * pack.SECTOR:
        members.refuse("hash_offset", f"at least {2 * pack.SECTOR}, the two blocks that dm-verity needs")
    parts = pack.layout(model.hash_offset)
    if model.data_blocks != parts.data_blocks:
        members.refuse("data_blocks", f"{parts.data_blocks}, all that lie before the hash tree")
    if model.size != parts.size:
        members.refuse("size", f"{parts.size}, the end of the hash tree over {parts.data_blocks} blocks")


def _cipher_to_value(model: Model) -> Mapping[str, object]:
    """The members that a body's kind decides; the size of a stream's chunks is in the model object."""
    if model.stream is not None:
        return {"cipher": stream.CIPHER}
    return {"cipher": pack.CIPHER, "sector_size": pack.SECTOR}


def sign(descriptor: Descriptor, key: Ed25519PrivateKey) -> Envelope:
    """Sign a descriptor with the owner's key. DecodeError on one that a reader would refuse."""
    payload = encode(descriptor)
    decode(payload)
    return dsse.sign(PAYLOAD_TYPE, payload, [key])


def authenticate(data: bytes, *, keys: Sequence[Ed25519PublicKey]) -> Descriptor:
    """Return the descriptor out of an encoded envelope that one of `keys` has signed.

    Raises DecodeError on what is no envelope or no descriptor, SignatureError on a signature of nobody here.
    """
    return decode(dsse.authenticate(dsse.decode(data), keys=keys, payload_type=PAYLOAD_TYPE))
