# SPDX-License-Identifier: Apache-2.0
"""The weights pack (docs/formats.md, *Weights pack*): its arithmetic, its cipher, its descriptor.

Owns where the parts of a pack lie, the identifiers derived from the model, the sector cipher and the
descriptor's JSON. It runs no tool and opens no file: `mantlet.edge.pack` does both.
"""

import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

from mantlet.weights import verity
from mantlet_measure import strictjson
from mantlet_measure.deployment import Model, model_from_fields, model_to_value
from mantlet_measure.strictjson import Fields

FORMAT = "mantlet-pack/v1"
CIPHER = "aes-xts-plain64"
SECTOR = 4096
PARTITION_NAME = "mantlet-weights"
PARTITION_OFFSET = 1 << 20
GGUF_MAGIC = b"GGUF"

_WHAT = "pack descriptor"
_NAMESPACE = uuid.UUID("6d616e74-6c65-5477-8569-676874733031")
_DISK_SECTOR = 512
# UEFI 2.10, 5.3.1: the backup GPT is a header and 16 KiB of entries behind the last partition.
_BACKUP_TABLE = 33 * _DISK_SECTOR
# Discoverable Partitions Specification (UAPI.2): generic Linux data, which nothing mounts by itself.
_PARTITION_TYPE = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """What lies beside a pack: the deployment document's model object, the SHA-256 of the ciphertext."""

    model: Model
    ciphertext_sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where the parts of the plaintext lie: `data_blocks` of 4096 bytes, `hash_offset`, `size` in bytes."""

    data_blocks: int
    hash_offset: int
    size: int


def layout(filesystem_size: int) -> Layout:
    """Lay the hash tree behind a file system of so many bytes, a multiple of 4096 and at least 8192."""
    blocks, rest = divmod(filesystem_size, SECTOR)
    if rest or blocks < 2:
        raise ValueError(
            f"a file system of {filesystem_size} bytes has no whole number of blocks, or fewer than two"
        )
    tree = sum(level.blocks for level in verity.levels(blocks))
    return Layout(data_blocks=blocks, hash_offset=filesystem_size, size=(blocks + tree) * SECTOR)


def salt(model_id: str) -> bytes:
    """Return the 32-byte salt of the hash tree, the same for everybody who packs this model."""
    return hashlib.sha256(b"mantlet/v1/salt" + model_id.encode("ascii")).digest()


def filesystem_uuid(model_id: str) -> str:
    """Return the UUID of the file system: a function of the model, for it enters the root hash."""
    return str(uuid.uuid5(_NAMESPACE, f"filesystem:{model_id}"))


def disk_size(size: int) -> int:
    """Return the bytes of a disk image that holds a partition of `size` bytes, in whole MiB."""
    return -(-(PARTITION_OFFSET + size + _BACKUP_TABLE) // (1 << 20)) << 20


def partition_table(model: Model) -> str:
    """Return the sfdisk(8) script of the disk; its identifiers are a function of the root hash."""
    name = model.root_hash.hex()
    return "\n".join(
        (
            "label: gpt",
            f"label-id: {uuid.uuid5(_NAMESPACE, f'disk:{name}')}",
            "unit: sectors",
            f"sector-size: {_DISK_SECTOR}",
            f"start={PARTITION_OFFSET // _DISK_SECTOR}, size={model.size // _DISK_SECTOR}, "
            f"type={_PARTITION_TYPE}, "
            f'uuid={uuid.uuid5(_NAMESPACE, f"partition:{name}")}, name="{PARTITION_NAME}"',
            "",
        )
    )


def encrypt(key: bytes, sectors: bytes | bytearray, *, first: int) -> bytearray:
    """Encrypt whole 4096-byte sectors, numbered from `first`, under the 64-byte disk key."""
    return _crypt(key, sectors, first, Cipher.encryptor)


def decrypt(key: bytes, sectors: bytes | bytearray, *, first: int) -> bytearray:
    """Undo `encrypt`."""
    return _crypt(key, sectors, first, Cipher.decryptor)


def _crypt(
    key: bytes,
    sectors: bytes | bytearray,
    first: int,
    direction: Callable[[Cipher[modes.XTS]], CipherContext],
) -> bytearray:
    """Run each sector through a cipher of its own tweak."""
    if len(sectors) % SECTOR:
        raise ValueError(f"{len(sectors)} bytes are no whole number of sectors")
    cipher = algorithms.AES(key)
    result = bytearray(len(sectors))
    # Every sector is written where it belongs: half of the time went into joining them.
    source, target = memoryview(sectors), memoryview(result)
    for start in range(0, len(result), SECTOR):
        # Linux drivers/md/dm-crypt.c, crypt_iv_plain64_gen: the sector's number, little-endian; with
        # iv_large_sectors it counts sectors of sector_size and not of 512 bytes.
        tweak = modes.XTS((first + start // SECTOR).to_bytes(16, "little"))
        end = start + SECTOR
        direction(Cipher(cipher, tweak)).update_into(source[start:end], target[start:end])
    return result


def encode(descriptor: Descriptor) -> bytes:
    """Return the canonical JSON of a descriptor."""
    return strictjson.encode(
        {
            "format": FORMAT,
            "model": model_to_value(descriptor.model),
            "cipher": CIPHER,
            "sector_size": SECTOR,
            "ciphertext_sha256": descriptor.ciphertext_sha256.hex(),
        }
    )


def decode(data: bytes) -> Descriptor:
    """Decode a descriptor. DecodeError on anything that is not one."""
    fields = Fields(strictjson.decode(data, what=_WHAT), _WHAT)
    fields.constant("format", FORMAT)
    fields.constant("cipher", CIPHER)
    fields.integer("sector_size", SECTOR, SECTOR)
    members = fields.fields("model")
    model = model_from_fields(members)
    members.done()
    descriptor = Descriptor(model=model, ciphertext_sha256=fields.hex("ciphertext_sha256", 32))
    fields.done()
    if model.salt != salt(model.id):
        members.refuse("salt", f"the salt of model {model.id}, {salt(model.id).hex()}")
    return descriptor
