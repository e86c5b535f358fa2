# SPDX-License-Identifier: Apache-2.0
"""Stream bodies made in memory, for whoever opens them."""

import hashlib

from mantlet_measure.body import CHUNK_SIZE, Stream, StreamFile
from mantlet_measure.stream import StreamCipher, stream_key

DATA_KEY = bytes(range(32))
ROOT = hashlib.sha256(b"model").digest()


def stream_of(*sizes: int) -> Stream:
    """A body with files of these sizes."""
    return Stream(files=tuple(StreamFile(name=f"file-{n:03}", size=size) for n, size in enumerate(sizes)))


def content(size: int) -> bytes:
    """Bytes that look like weights."""
    return hashlib.shake_256(b"content").digest(size)


def sealed(stream: Stream, plain: bytes, *, data_key: bytes = DATA_KEY, root: bytes = ROOT) -> bytes:
    """The ciphertext of a body whose files, put together, are `plain`."""
    cipher = StreamCipher(stream_key(data_key, root), root)
    out = bytearray(stream.size)
    for chunk in stream.chunks():
        start = chunk.index * CHUNK_SIZE
        target = memoryview(out)[chunk.offset : chunk.offset + chunk.sealed_size]
        cipher.seal_into(chunk, memoryview(plain)[start : start + chunk.size], target)
    return bytes(out)
