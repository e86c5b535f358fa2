# SPDX-License-Identifier: Apache-2.0
"""Write, check and rekey the stream body of a weights pack.

The disk image around it is that of any pack, so that one file serves a machine's disk and an object store.
What is done with a chunk is `mantlet.weights.stream`'s matter, where bytes come from `range_source`'s, how
files come out `stream_extract`'s. All cores work on chunks; a connection is read in order, by one of them.
Memory is that of a few chunks, whatever the model's size.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from mantlet.edge import chunks, output, pack_disk
from mantlet.edge.pack_journal import Journal
from mantlet.edge.range_source import Source
from mantlet.weights import stream as body
from mantlet.weights.descriptor import Descriptor
from mantlet.weights.disk import PARTITION_OFFSET
from mantlet_measure.body import CHUNK_SIZE, TAG_SIZE, Chunk, Part, Stream
from mantlet_measure.deployment import Model
from mantlet_measure.disk_key import key_id
from mantlet_measure.errors import DecodeError, UnavailableError
from mantlet_measure.stream import StreamCipher, stream_key

_SEALED_SIZE = CHUNK_SIZE + TAG_SIZE


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A chunk to be worked on, and its ciphertext when that was fetched already."""

    chunk: Chunk
    fetched: memoryview | None = None

    @property
    def start(self) -> int:
        """Where its ciphertext starts in the body."""
        return self.chunk.offset

    @property
    def size(self) -> int:
        """The bytes of its ciphertext."""
        return self.chunk.sealed_size

    def sealed(self, source: Source) -> memoryview:
        """Return its ciphertext, read from `source` if need be."""
        return _read(source, self.chunk) if self.fetched is None else self.fetched


def write(
    disk: Path, model: Model, places: Mapping[str, Path], *, data_key: bytes, journal: Journal
) -> bytes:
    """Write the disk image of a stream body as `disk`; return the SHA-256 of the body, synced to disk.

    places: where the files are that the model's stream names. What the journal has as done is there already.
    UnavailableError when a file has become shorter, OSError when there is no room.
    """
    stream = stream_of(model)
    with _opened(places) as descriptors, _cipher(model, data_key) as cipher, chunks.threads() as executor:

        def read(part: Part, target: memoryview) -> None:
            _fill(descriptors[part.file.name], part, target)

        def seal(job: Job) -> None:
            _put(disk, job, body.seal(job.chunk, read, cipher))

        def parts(done: int) -> Iterable[Job]:
            return (Job(chunk=chunk) for chunk in _from(stream, done))

        return pack_disk.fill(disk, model, seal, parts, unit=_SEALED_SIZE, journal=journal, executor=executor)


def check(source: Source, descriptor: Descriptor, *, data_key: bytes | None) -> None:
    """Read all of a disk image: its SHA-256 and, with a key, the authenticity of each chunk. DecodeError.

    With a key the error names the chunk, without one the whole body.
    """
    stream, digest = stream_of(descriptor.model), hashlib.sha256()

    parts = _as_they_are(source, stream) if data_key is None else _authentic(source, descriptor, data_key)
    with output.progress("Checking", stream.size) as advance:
        for sealed in parts:
            digest.update(sealed)
            advance(len(sealed))
    if (found := digest.digest()) != descriptor.ciphertext_sha256:
        raise DecodeError(
            f"stream body of {descriptor.model.id}",
            expected=f"SHA-256 {descriptor.ciphertext_sha256.hex()}",
            found=found.hex(),
            hint="fetch the pack again; check that the descriptor belongs to it",
        )
    _require_around(source, descriptor.model)


def rekey(
    source: Source, descriptor: Descriptor, disk: Path, *, old: bytes, new: bytes, journal: Journal
) -> bytes:
    """Write the body under another data key as the disk image `disk`; return its SHA-256, as `write` does.

    Raises DecodeError when the old key does not open the body; `disk` is then of no use.
    """
    model = descriptor.model
    stream = stream_of(model)
    with (
        cipher_of(descriptor, old) as opening,
        _cipher(model, new) as sealing,
        chunks.threads() as executor,
    ):

        def seal(job: Job) -> None:
            _put(disk, job, body.rekey(job.chunk, job.sealed(source), old=opening, new=sealing))

        def parts(done: int) -> Iterable[Job]:
            return jobs(source, _from(stream, done))

        return pack_disk.fill(disk, model, seal, parts, unit=_SEALED_SIZE, journal=journal, executor=executor)


def jobs(source: Source, wanted: Iterable[Chunk]) -> Iterator[Job]:
    """Yield the job of each chunk, with its ciphertext where whoever works on it cannot read it himself."""
    for chunk in wanted:
        yield Job(chunk=chunk, fetched=_read(source, chunk) if source.in_order else None)


def stream_of(model: Model) -> Stream:
    """Return the stream of a model. DecodeError when its pack has another body."""
    if model.stream is None:
        raise DecodeError(
            f"pack of {model.id}",
            expected="a stream body",
            found="a disk body",
            hint="name the pack that was made with --body stream",
        )
    return model.stream


@contextmanager
def _cipher(model: Model, data_key: bytes) -> Iterator[StreamCipher]:
    """Lend the cipher of a body; its derived key is overwritten afterwards."""
    key = stream_key(data_key, model.root_hash)
    try:
        yield StreamCipher(key, model.root_hash)
    finally:
        key[:] = bytes(len(key))


@contextmanager
def cipher_of(descriptor: Descriptor, data_key: bytes) -> Iterator[StreamCipher]:
    """Lend the cipher of a described body. DecodeError when the key is another pack's."""
    if (found := key_id(data_key)) != descriptor.key_id:
        raise DecodeError(
            "data key",
            expected=f"key {descriptor.key_id.hex()}",
            found=f"key {found.hex()}",
            hint="name the key file that was made with this pack with --key FILE",
        )
    with _cipher(descriptor.model, data_key) as cipher:
        yield cipher


def _from(stream: Stream, done: int) -> Iterable[Chunk]:
    """The chunks from a byte of the body on, where one starts."""
    return islice(stream.chunks(), done // _SEALED_SIZE, None)


def _as_they_are(source: Source, stream: Stream) -> Iterator[memoryview]:
    """Yield the ciphertext of each chunk, in a buffer that the next one overwrites.

    One core does it all: the digest is taken by one, and bytes that another has read cost it more.
    """
    buffer = memoryview(bytearray(_SEALED_SIZE))
    for chunk in stream.chunks():
        target = buffer[: chunk.sealed_size]
        source.read_into(PARTITION_OFFSET + chunk.offset, target)
        yield target


def _authentic(source: Source, descriptor: Descriptor, data_key: bytes) -> Iterator[memoryview]:
    """Yield the ciphertext of each chunk when it has authenticated. DecodeError when it does not."""
    with cipher_of(descriptor, data_key) as cipher, chunks.threads() as executor:

        def opened(job: Job) -> memoryview:
            sealed = job.sealed(source)
            body.unseal(job.chunk, sealed, cipher)
            return sealed

        wanted = stream_of(descriptor.model).chunks()
        for _, sealed in chunks.in_order(executor, opened, jobs(source, wanted)):
            yield sealed


def _read(source: Source, chunk: Chunk) -> memoryview:
    sealed = memoryview(bytearray(chunk.sealed_size))
    source.read_into(PARTITION_OFFSET + chunk.offset, sealed)
    return sealed


def _put(disk: Path, job: Job, sealed: bytearray) -> None:
    """Write the ciphertext of a chunk where it belongs."""
    with disk.open("r+b") as file:
        file.seek(PARTITION_OFFSET + job.start)
        file.write(sealed)


def _require_around(source: Source, model: Model) -> None:
    """Refuse a disk image that holds anything beside the body but the table that names it."""
    head, tail = pack_disk.around(model)
    for start, expected in ((0, head), (PARTITION_OFFSET + model.body_size, tail)):
        found = bytearray(len(expected))
        source.read_into(start, memoryview(found))
        if found != expected:
            place = next(at for at, byte in enumerate(expected) if found[at] != byte)
            raise DecodeError(
                f"disk image of {model.id}",
                expected="the pack's partition table, and zeros around it",
                found=f"the byte {found[place]:02x}",
                offset=start + place,
            )


@contextmanager
def _opened(places: Mapping[str, Path]) -> Iterator[Mapping[str, int]]:
    descriptors = dict[str, int]()
    try:
        for name, path in places.items():
            descriptors[name] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        yield descriptors
    finally:
        for descriptor in descriptors.values():
            os.close(descriptor)


def _fill(descriptor: int, part: Part, target: memoryview) -> None:
    done = 0
    while done < len(target):
        count = os.preadv(descriptor, [target[done:]], part.offset + done)
        if count == 0:
            raise UnavailableError(
                f"{part.file.name}: expected {part.file.size:,} bytes, found {part.offset + done:,}",
                hint="the file shrank meanwhile: pack it again when nothing writes to it",
            )
        done += count
