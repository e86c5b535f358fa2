# SPDX-License-Identifier: Apache-2.0
"""The body of a weights pack (docs/formats.md, *Weights pack*): its arithmetic and its cipher.

Owns where the parts of a pack lie, the identifiers derived from the model, and the sector cipher. The disk
image around it is `mantlet.weights.disk`'s matter. It runs no tool and opens no file.
"""

import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

from mantlet.weights import verity

CIPHER = "aes-xts-plain64"
SECTOR = 4096
GGUF_MAGIC = b"GGUF"

_NAMESPACE = uuid.UUID("6d616e74-6c65-5477-8569-676874733031")


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
