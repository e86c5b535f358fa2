# SPDX-License-Identifier: Apache-2.0
"""The stream body of a weights pack, chunk by chunk (docs/formats.md, *Stream body*).

Owns which files it holds in which order, and what is done with a chunk: seal, open, both. A chunk stands for
itself, so that many may be worked on at once. The cipher is `mantlet_measure.stream`'s, for the agent opens
with it too. Reading is a parameter; it writes nothing.
"""

from collections.abc import Callable, Mapping

from mantlet_measure.body import FILES_LIMIT, Chunk, Part, Stream, StreamFile
from mantlet_measure.errors import DecodeError
from mantlet_measure.stream import StreamCipher

CIPHER = "aes-256-gcm-stream"

ReadPart = Callable[[Part, memoryview], None]
"""Fill the view (second) with the bytes of a part of a file (first)."""


def stream_of(sizes: Mapping[str, int]) -> Stream:
    """Return the body that holds files of these names and sizes in bytes. DecodeError on too many of them."""
    if not 0 < len(sizes) <= FILES_LIMIT:
        raise DecodeError(
            "stream body",
            expected=f"1 to {FILES_LIMIT} files",
            found=str(len(sizes)),
            hint="pack a model of so many files without --body stream",
        )
    return Stream(files=tuple(StreamFile(name=name, size=sizes[name]) for name in sorted(sizes)))


def seal(chunk: Chunk, read: ReadPart, cipher: StreamCipher) -> bytearray:
    """Return the ciphertext of a chunk, tag included."""
    plain, sealed = bytearray(chunk.size), bytearray(chunk.sealed_size)
    view = memoryview(plain)
    for part in chunk.parts:
        read(part, view[part.start : part.start + part.size])
    cipher.seal_into(chunk, view, memoryview(sealed))
    return sealed


def unseal(chunk: Chunk, sealed: memoryview, cipher: StreamCipher) -> memoryview:
    """Return the plaintext of a chunk, all of it authentic. DecodeError when it is not."""
    plain = memoryview(bytearray(chunk.size))
    cipher.open_into(chunk, sealed, plain)
    return plain


def rekey(chunk: Chunk, sealed: memoryview, *, old: StreamCipher, new: StreamCipher) -> bytearray:
    """Return the ciphertext of a chunk under the new key. DecodeError where the old one does not fit."""
    again = bytearray(chunk.sealed_size)
    new.seal_into(chunk, unseal(chunk, sealed, old), memoryview(again))
    return again
