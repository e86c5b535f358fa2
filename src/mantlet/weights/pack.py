# SPDX-License-Identifier: Apache-2.0
"""The weights pack (docs/formats.md, *Weights pack*): its arithmetic, its cipher, its descriptor.

Owns where the parts of a pack lie, the identifiers derived from the model, the sector cipher and the
descriptor's JSON. It runs no tool and opens no file: `mantlet.edge.pack` does both.
"""

import hashlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

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
# Digests of 32 bytes that fit a hash block (Linux, Documentation/admin-guide/device-mapper/verity.rst).
_FANOUT = SECTOR // 32
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
    return Layout(
        data_blocks=blocks, hash_offset=filesystem_size, size=(blocks + _tree_blocks(blocks)) * SECTOR
    )


def _tree_blocks(data_blocks: int) -> int:
    """Count the blocks of a dm-verity tree: a level holds the digests of the one below, up to one block."""
    total, level = 0, data_blocks
    while level > 1:
        level = -(-level // _FANOUT)
        total += level
    return total


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


def encrypt(key: bytes, sectors: bytes, *, first: int) -> bytes:
    """Encrypt whole 4096-byte sectors, numbered from `first`, under the 64-byte disk key."""
    cipher = algorithms.AES(key)
    return b"".join(
        [Cipher(cipher, tweak).encryptor().update(sector) for tweak, sector in _tweaked(sectors, first)]
    )


def decrypt(key: bytes, sectors: bytes, *, first: int) -> bytes:
    """Undo `encrypt`."""
    cipher = algorithms.AES(key)
    return b"".join(
        [Cipher(cipher, tweak).decryptor().update(sector) for tweak, sector in _tweaked(sectors, first)]
    )


def _tweaked(sectors: bytes, first: int) -> Iterator[tuple[modes.XTS, memoryview]]:
    """Pair each sector with its tweak."""
    if len(sectors) % SECTOR:
        raise ValueError(f"{len(sectors)} bytes are no whole number of sectors")
    view = memoryview(sectors)
    for index in range(len(sectors) // SECTOR):
        # Linux drivers/md/dm-crypt.c, crypt_iv_plain64_gen: the sector's number, little-endian; with
        # iv_large_sectors it counts sectors of sector_size and not of 512 bytes.
        tweak = modes.XTS((first + index).to_bytes(16, "little"))
        yield tweak, view[index * SECTOR : (index + 1) * SECTOR]


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
