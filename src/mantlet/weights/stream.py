# SPDX-License-Identifier: Apache-2.0
"""The stream body of a weights pack, chunk by chunk (docs/formats.md, *Stream body*).

Owns which files it holds in which order, and the passes over its chunks: seal, open, both. The cipher is
`mantlet_measure.stream`'s, for the agent opens with it too. Reading is a parameter; it writes nothing.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice

from mantlet_measure.body import CHUNK_SIZE, FILES_LIMIT, TAG_SIZE, Chunk, Part, Stream, StreamFile
from mantlet_measure.errors import DecodeError
from mantlet_measure.stream import StreamCipher

CIPHER = "aes-256-gcm-stream"

Read = Callable[[int, memoryview], None]
"""Fill the view (second) with the ciphertext from an offset (first) of the body on."""

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


def seal(
    stream: Stream, read: ReadPart, cipher: StreamCipher, *, first: int = 0
) -> Iterator[tuple[Chunk, memoryview]]:
    """Yield each chunk from the one numbered `first` on, with its ciphertext.

    It lies in a buffer that the next one overwrites.
    """
    plain, sealed = _buffers()
    for chunk in islice(stream.chunks(), first, None):
        for part in chunk.parts:
            read(part, plain[part.start : part.start + part.size])
        target = sealed[: chunk.sealed_size]
        cipher.seal_into(chunk, plain[: chunk.size], target)
        yield chunk, target


def fetch(stream: Stream, read: Read, *, first: int = 0) -> Iterator[tuple[Chunk, memoryview]]:
    """Yield each chunk from the one numbered `first` on, with its ciphertext as it was read.

    It lies in a buffer that the next one overwrites.
    """
    sealed, _ = _buffers()
    for chunk in islice(stream.chunks(), first, None):
        target = sealed[: chunk.sealed_size]
        read(chunk.offset, target)
        yield chunk, target


def unseal(
    stream: Stream, read: Read, cipher: StreamCipher, *, first: int = 0
) -> Iterator[tuple[Chunk, memoryview]]:
    """Yield each chunk from the one numbered `first` on, with its plaintext, all of it authentic.

    It lies in a buffer that the next one overwrites. Raises DecodeError at the first chunk that does not
    authenticate.
    """
    plain, _ = _buffers()
    for chunk, sealed in fetch(stream, read, first=first):
        target = plain[: chunk.size]
        cipher.open_into(chunk, sealed, target)
        yield chunk, target


def rekey(
    stream: Stream, read: Read, *, old: StreamCipher, new: StreamCipher, first: int = 0
) -> Iterator[tuple[Chunk, memoryview]]:
    """Yield each chunk from the one numbered `first` on, with its ciphertext under the new key.

    Raises DecodeError where the old one does not fit.
    """
    sealed, _ = _buffers()
    for chunk, plain in unseal(stream, read, old, first=first):
        target = sealed[: chunk.sealed_size]
        new.seal_into(chunk, plain, target)
        yield chunk, target


def _buffers() -> tuple[memoryview, memoryview]:
    """Return two buffers, each of which holds a chunk with its tag."""
    return memoryview(bytearray(CHUNK_SIZE + TAG_SIZE)), memoryview(bytearray(CHUNK_SIZE + TAG_SIZE))
