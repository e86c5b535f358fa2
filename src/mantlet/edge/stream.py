# SPDX-License-Identifier: Apache-2.0
"""Write, check, rekey and extract the stream body of a weights pack.

The disk image around it is that of any pack, so that one file serves a machine's disk and an object store.
How chunks are made is `mantlet.weights.stream`'s matter, where bytes come from `range_source`'s. Memory is
that of a few chunks, whatever the model's size. No file has its final name before all have authenticated.
"""

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

from mantlet.edge import output
from mantlet.edge.pack_journal import Journal
from mantlet.edge.range_source import Source
from mantlet.weights import disk as image
from mantlet.weights import stream as chunks
from mantlet.weights.descriptor import Descriptor
from mantlet_measure.body import CHUNK_SIZE, TAG_SIZE, Chunk, Part, Stream
from mantlet_measure.deployment import BLOCK, Model
from mantlet_measure.disk_key import key_id
from mantlet_measure.errors import DecodeError, UnavailableError
from mantlet_measure.stream import StreamCipher, stream_key


def image_size(model: Model) -> int:
    """Return the bytes of the disk image around the body, which is what `open_source` asks for."""
    return image.size_of(_partition_size(_stream(model)))


def write(
    disk: Path, model: Model, places: Mapping[str, Path], *, data_key: bytes, journal: Journal
) -> bytes:
    """Write the disk image of a stream body as `disk`; return the SHA-256 of the body, synced to disk.

    places: where the files are that the model's stream names. What the journal has as done is there already.
    UnavailableError when a file has become shorter, OSError when there is no room.
    """
    stream = _stream(model)
    with _opened(places) as descriptors, _cipher(model, data_key) as cipher:

        def read(part: Part, target: memoryview) -> None:
            _fill(descriptors[part.file.name], part, target)

        sealed = partial(chunks.seal, stream, read, cipher)
        return _write_disk(disk, model, sealed, journal=journal)


def check(source: Source, descriptor: Descriptor, *, data_key: bytes | None) -> None:
    """Read all of a disk image: its SHA-256 and, with a key, the authenticity of each chunk. DecodeError.

    With a key the error names the chunk, without one the whole body.
    """
    stream, digest = _stream(descriptor.model), hashlib.sha256()
    read = _reader(source)

    with output.progress("Checking", stream.size) as advance:

        def hashed(offset: int, target: memoryview) -> None:
            read(offset, target)
            digest.update(target)
            advance(len(target))

        if data_key is None:
            for _ in chunks.fetch(stream, hashed):
                pass
        else:
            with _cipher_of(descriptor, data_key) as cipher:
                for _ in chunks.unseal(stream, hashed, cipher):
                    pass
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
    with _cipher_of(descriptor, old) as opening, _cipher(model, new) as sealing:
        sealed = partial(chunks.rekey, _stream(model), _reader(source), old=opening, new=sealing)
        return _write_disk(disk, model, sealed, journal=journal)


def extract(source: Source, descriptor: Descriptor, directory: Path, *, data_key: bytes) -> tuple[Path, ...]:
    """Write the model's files into `directory`; return them. DecodeError, and then none of them is there.

    A file of the same name is replaced. UnavailableError when there is no room for all of them.
    """
    stream = _stream(descriptor.model)
    directory.mkdir(parents=True, exist_ok=True)
    partial = directory / f".{descriptor.model.id}.extracting"
    shutil.rmtree(partial, ignore_errors=True)
    if (free := shutil.disk_usage(directory).free) < stream.plain_size:
        raise UnavailableError(
            f"{directory}: expected {stream.plain_size:,} bytes of room for the files, found {free:,}",
            hint="make room there, or choose another file system with --output DIR",
        )
    partial.mkdir()
    try:
        with _cipher_of(descriptor, data_key) as cipher:
            _write_files(partial, stream, chunks.unseal(stream, _reader(source), cipher))
        for file in stream.files:
            (partial / file.name).replace(directory / file.name)
    finally:
        shutil.rmtree(partial)
    return tuple(directory / file.name for file in stream.files)


def _write_files(folder: Path, stream: Stream, opened: Iterable[tuple[Chunk, memoryview]]) -> None:
    """Write the files of authentic chunks into an empty folder, synced to disk."""
    target = -1
    with ExitStack() as writing, output.progress("Extracting", stream.plain_size) as advance:
        for chunk, plain in opened:
            for part in chunk.parts:
                if part.offset == 0:
                    writing.close()
                    target = writing.enter_context(_new(folder / part.file.name))
                _write(target, plain[part.start : part.start + part.size])
            advance(chunk.size)


@contextmanager
def _new(path: Path) -> Iterator[int]:
    """Lend a new file; it is synced when it is complete."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        yield descriptor
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _Sealed(Protocol):
    """The chunks of a body from the one numbered `first` on, each with its ciphertext."""

    def __call__(self, *, first: int) -> Iterable[tuple[Chunk, memoryview]]: ...


def _write_disk(disk: Path, model: Model, sealed: _Sealed, *, journal: Journal) -> bytes:
    """Write ciphertext into the one partition of a disk image, and return its SHA-256.

    Of what the journal has as done, the digest is taken and nothing is written.
    """
    digest = hashlib.sha256()
    head, tail = _around(model)
    first = min(journal.done, model.body_size) // (CHUNK_SIZE + TAG_SIZE)
    with (
        open(os.open(disk, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644), "r+b", buffering=0) as file,  # noqa: PTH123, it may exist
        journal.kept(file.fileno()) as reached,
        output.progress("Encrypting", model.body_size) as advance,
    ):
        os.posix_fallocate(file.fileno(), 0, image_size(model))
        _write(file.fileno(), memoryview(head))
        for content in _written(file.fileno(), first):
            digest.update(content)
            advance(len(content))
        for chunk, content in sealed(first=first):
            _write(file.fileno(), content)
            digest.update(content)
            advance(len(content))
            reached(chunk.offset + chunk.sealed_size)
        _write(file.fileno(), memoryview(tail))
        os.fsync(file.fileno())
    return digest.digest()


def _written(file: int, chunk_count: int) -> Iterator[memoryview]:
    """Read the next `chunk_count` chunks of a file, each into the same buffer."""
    target = memoryview(bytearray(CHUNK_SIZE + TAG_SIZE))
    for _ in range(chunk_count):
        done = 0
        while done < len(target):
            count = os.readv(file, [target[done:]])
            if count == 0:
                raise UnavailableError(
                    "the pack that is being written: it shrank meanwhile", hint="run the same command again"
                )
            done += count
        yield target


def _around(model: Model) -> tuple[bytes, bytes]:
    """Return what the disk image holds before and behind the body; its last sector ends in zeros."""
    stream = _stream(model)
    size = _partition_size(stream)
    return image.head(model.root_hash, size), bytes(size - stream.size) + image.tail(model.root_hash, size)


def _require_around(source: Source, model: Model) -> None:
    """Refuse a disk image that holds anything beside the body but the table that names it."""
    head, tail = _around(model)
    for start, expected in ((0, head), (image.PARTITION_OFFSET + model.body_size, tail)):
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


def _partition_size(stream: Stream) -> int:
    """The bytes of the body's partition: whole blocks."""
    return -(-stream.size // BLOCK) * BLOCK


def _stream(model: Model) -> Stream:
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
def _cipher_of(descriptor: Descriptor, data_key: bytes) -> Iterator[StreamCipher]:
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


def _reader(source: Source) -> chunks.Read:
    """Read the body where the disk image has it."""
    return lambda offset, target: source.read_into(image.PARTITION_OFFSET + offset, target)


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


def _write(descriptor: int, content: memoryview) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
