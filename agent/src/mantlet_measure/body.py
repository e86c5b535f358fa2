# SPDX-License-Identifier: Apache-2.0
"""What lies where in the stream body of a weights pack (docs/formats.md, *Stream body*).

Owns the files of the body, its one chunk size and the cut of files into chunks. It holds no key and no bytes:
`stream` encrypts and decrypts a chunk, and who asks it reads and writes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mantlet_measure.strictjson import Fields

CHUNK_SIZE = 1 << 20
TAG_SIZE = 16
FILES_LIMIT = 256
# Where a body starts in a disk image: that of its one partition.
OFFSET = 1 << 20
# As many chunks as a counter of 32 bits could count are more than this by far.
_LARGEST = 1 << 46


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFile:
    """A file of the model: its plain name, its size in bytes, at least one."""

    name: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Bytes of a file in a chunk: `size` of them, from `offset` of the file, at `start` of the plaintext."""

    file: StreamFile
    offset: int
    start: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A chunk: its number, where its ciphertext is in the body, the size of its plaintext, what is in it."""

    index: int
    offset: int
    size: int
    last: bool
    parts: tuple[Part, ...]

    @property
    def sealed_size(self) -> int:
        """The bytes of its ciphertext, tag included."""
        return self.size + TAG_SIZE


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """A stream body: the files whose bytes follow one another in it, by ascending name, at least one."""

    files: tuple[StreamFile, ...]

    @property
    def plain_size(self) -> int:
        """The bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def size(self) -> int:
        """The bytes of the ciphertext: those of the files, and a tag for each chunk."""
        return self.plain_size + -(-self.plain_size // CHUNK_SIZE) * TAG_SIZE

    def chunks(self) -> Iterator[Chunk]:
        """Yield the chunks in order, in time that is linear in chunks and files."""
        left = self.plain_size
        parts, start, index = list[Part](), 0, 0
        for file in self.files:
            offset = 0
            while offset < file.size:
                size = min(file.size - offset, CHUNK_SIZE - start)
                parts.append(Part(file=file, offset=offset, start=start, size=size))
                offset, start, left = offset + size, start + size, left - size
                if start == CHUNK_SIZE or left == 0:
                    place = index * (CHUNK_SIZE + TAG_SIZE)
                    yield Chunk(index=index, offset=place, size=start, last=left == 0, parts=tuple(parts))
                    parts, start, index = [], 0, index + 1


def stream_from_fields(fields: Fields, *, name_pattern: str) -> Stream:
    """Decode a `stream` object, all of it. DecodeError on anything that is not one."""
    fields.integer("chunk_size", CHUNK_SIZE, CHUNK_SIZE)
    files = []
    for item in fields.sequence("files", limit=FILES_LIMIT):
        entry = Fields(item, f"{fields.what}: files")
        name = entry.text("name", pattern=name_pattern)
        files.append(StreamFile(name=name, size=entry.integer("size", 1, _LARGEST)))
        entry.done()
    # One order only: the key depends on the model and not on the order, and no nonce may meet two plaintexts.
    names = [file.name for file in files]
    if not names or names != sorted(set(names)):
        fields.refuse("files", "files by ascending name, each once, at least one")
    stream = Stream(files=tuple(files))
    if fields.integer("size", 1, 2 * _LARGEST) != stream.size or stream.plain_size > _LARGEST:
        fields.refuse("size", f"the bytes of the files with a tag for each chunk, {stream.size}")
    fields.done()
    return stream


def stream_to_value(stream: Stream) -> Mapping[str, object]:
    """Return the JSON object that `stream_from_fields` reads."""
    return {
        "chunk_size": CHUNK_SIZE,
        "size": stream.size,
        "files": [{"name": file.name, "size": file.size} for file in stream.files],
    }
