# SPDX-License-Identifier: Apache-2.0
"""The key of the disk cipher, derived from the data key (docs/formats.md, *Sealed key*, last paragraph).

Owns one derivation: HKDF (RFC 5869) with SHA-256. The packer encrypts with it and the agent decrypts with it.
"""

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

INFO = b"mantlet/v1/xts"
SIZE = 64
DATA_KEY_SIZE = 32


def disk_key(data_key: bytes | bytearray, root_hash: bytes) -> bytes:
    """Return the 64-byte key of aes-xts-plain64 for the pack that `root_hash` (32 bytes) names."""
    if len(data_key) != DATA_KEY_SIZE or len(root_hash) != 32:
        raise ValueError("a data key and a root hash have 32 bytes each")
    return HKDF(algorithm=SHA256(), length=SIZE, salt=root_hash, info=INFO).derive(bytes(data_key))
