# SPDX-License-Identifier: Apache-2.0
"""What is derived from a data key: the key of the disk cipher, and the key's name (docs/formats.md, *Data
key*).

Owns two derivations: HKDF (RFC 5869) with SHA-256. The packer encrypts with the first and the agent decrypts
with it. Keys come and go in buffers that their owner can overwrite; nothing immutable holds one.
"""

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

INFO = b"mantlet/v1/xts"
KEY_ID_INFO = b"mantlet/v1/key-id"
SIZE = 64
DATA_KEY_SIZE = 32
_KEY_ID_SIZE = 16


def disk_key(data_key: bytes | bytearray, root_hash: bytes) -> bytearray:
    """Return the 64-byte key of aes-xts-plain64 for the pack that `root_hash` (32 bytes) names.

    The caller overwrites it when it is done with it.
    """
    if len(data_key) != DATA_KEY_SIZE or len(root_hash) != 32:
        raise ValueError("a data key and a root hash have 32 bytes each")
    key = bytearray(SIZE)
    HKDF(algorithm=SHA256(), length=SIZE, salt=root_hash, info=INFO).derive_into(data_key, key)
    return key


def key_id(data_key: bytes | bytearray) -> bytes:
    """Return the 16 bytes that name a data key and tell nothing of it."""
    if len(data_key) != DATA_KEY_SIZE:
        raise ValueError("a data key has 32 bytes")
    return HKDF(algorithm=SHA256(), length=_KEY_ID_SIZE, salt=None, info=KEY_ID_INFO).derive(data_key)
