# SPDX-License-Identifier: Apache-2.0
"""The cipher of the stream body (docs/formats.md, *Stream body*): STREAM over AES-256-GCM.

Follows Hoang, Reyhanitabar, Rogaway and Vizár, *Online Authenticated-Encryption and its Nonce-Reuse
Misuse-Resistance* (2015), section 7: the nonce counts the chunks and says which is the last, so that a chunk
authenticates at its own place alone. The packer seals with it and the agent opens with it. It reads and
writes nothing, and it does not wipe the key that it was given.
"""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mantlet_measure.body import Chunk
from mantlet_measure.errors import DecodeError

INFO = b"mantlet/v1/stream"
_KEY_SIZE = 32
# With the counter of four bytes and the flag of one: the 12 bytes of NIST SP 800-38D, 8.2.1.
_PREFIX_SIZE = 7
_INPUT_SIZE = 32


def stream_key(data_key: bytes | bytearray, root_hash: bytes) -> bytearray:
    """Return key and nonce prefix, 32 + 7 bytes, of the body that `root_hash` (32 bytes) names.

    Whoever asks wipes it.
    """
    if len(data_key) != _INPUT_SIZE or len(root_hash) != _INPUT_SIZE:
        raise ValueError("a data key and a root hash have 32 bytes each")
    key = bytearray(_KEY_SIZE + _PREFIX_SIZE)
    HKDF(algorithm=SHA256(), length=len(key), salt=root_hash, info=INFO).derive_into(data_key, key)
    return key


class StreamCipher:
    """Seals and opens the chunks of one body, each by itself."""

    __slots__ = ("_aead", "_associated", "_prefix")

    def __init__(self, key: bytearray, root_hash: bytes) -> None:
        """Take what `stream_key` returned, which must stay as it is while the cipher is used."""
        self._aead = AESGCM(memoryview(key)[:_KEY_SIZE])
        self._prefix = bytes(key[_KEY_SIZE:])
        self._associated = INFO + root_hash

    def seal_into(self, chunk: Chunk, plaintext: memoryview, target: memoryview) -> None:
        """Encrypt the plaintext of `chunk` into `target`, which has the size of plaintext and tag."""
        self._aead.encrypt_into(self._nonce(chunk), plaintext, self._associated, target)

    def open_into(self, chunk: Chunk, sealed: memoryview, target: memoryview) -> None:
        """Decrypt and authenticate the ciphertext of `chunk` into `target`, which has the plaintext's size.

        Raises DecodeError on a chunk that was cut, altered, moved or made under another key; no byte of its
        plaintext is then in `target`.
        """
        if len(sealed) != chunk.sealed_size:
            raise self._refusal(chunk, f"{chunk.sealed_size} bytes", f"{len(sealed)}")
        try:
            self._aead.decrypt_into(self._nonce(chunk), sealed, self._associated, target)
        except InvalidTag:
            target[:] = bytes(len(target))
            raise self._refusal(
                chunk,
                "bytes that authenticate at their place",
                "bytes that were altered, moved or made under another key",
            ) from None

    def _refusal(self, chunk: Chunk, expected: str, found: str) -> DecodeError:
        return DecodeError(
            f"stream: chunk {chunk.index}",
            expected=expected,
            found=found,
            offset=chunk.offset,
            hint="fetch the pack again; check that descriptor and key belong to it",
        )

    def _nonce(self, chunk: Chunk) -> bytes:
        return self._prefix + chunk.index.to_bytes(4, "big") + bytes([chunk.last])
