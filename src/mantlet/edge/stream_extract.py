# SPDX-License-Identifier: Apache-2.0
"""Take the files out of a weights pack's stream body.

A chunk is written when it has authenticated, and its tag after it, into a file of tags beside the files. A
later run seals again what it finds: a chunk whose bytes give its tag is the pack's, for the tag is a function
of key, place and bytes that nobody computes without the key. So nothing is fetched to check it.
"""

import hmac
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mantlet.edge import chunks, extraction, output
from mantlet.edge.chunks import read_into
from mantlet.edge.range_source import Source
from mantlet.edge.stream import Job, cipher_of, jobs, stream_of
from mantlet.weights import stream as body
from mantlet.weights.descriptor import Descriptor
from mantlet_measure.body import TAG_SIZE, Part
from mantlet_measure.stream import StreamCipher

# No file of a pack has a name that begins with a dot.
_TAGS = ".tags"


def extract(source: Source, descriptor: Descriptor, directory: Path, *, data_key: bytes) -> tuple[Path, ...]:
    """Write the model's files into `directory`; return them. DecodeError, and then none of them is there.

    A file of the same name is replaced. An interrupted run is gone on with. UnavailableError when there is no
    room for all of them.
    """
    stream = stream_of(descriptor.model)
    sizes = {file.name: file.size for file in stream.files}
    with (
        cipher_of(descriptor, data_key) as cipher,
        extraction.begun(directory, descriptor.model.id, sizes, beside=_TAGS) as place,
        _opened(place.folder, sizes, cipher) as target,
        chunks.threads() as executor,
    ):
        left, size = extraction.left_to_do(
            place,
            lambda: (Job(chunk=chunk) for chunk in stream.chunks()),
            target.holds,
            total=stream.size,
            executor=executor,
        )
        missing = jobs(source, (job.chunk for job in left))
        with output.progress("Extracting", size) as advance:
            for job, _ in chunks.in_order(executor, partial(target.write, source), missing):
                advance(job.size)
    return tuple(directory / file.name for file in stream.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """The open files of a model by their names, the open file of tags, and the cipher of the body."""

    files: Mapping[str, int]
    tags: int
    cipher: StreamCipher

    def write(self, source: Source, job: Job) -> None:
        """Write a chunk that authenticates, its tag last. DecodeError for another."""
        sealed = job.sealed(source)
        plain = body.unseal(job.chunk, sealed, self.cipher)
        for part in job.chunk.parts:
            _write(self.files[part.file.name], plain[part.start : part.start + part.size], part.offset)
        _write(self.tags, sealed[-TAG_SIZE:], job.chunk.index * TAG_SIZE)

    def holds(self, job: Job) -> bool:
        """Say whether the files hold a chunk: its bytes and place give its tag."""
        tag = os.pread(self.tags, TAG_SIZE, job.chunk.index * TAG_SIZE)
        # No tag was written yet; should a real one be like this, its chunk is written again.
        if not any(tag):
            return False
        # The ciphertext of bytes that may be anybody's, under a nonce that has its own: it goes no further.
        return hmac.compare_digest(body.seal(job.chunk, self._read, self.cipher)[-TAG_SIZE:], tag)

    def _read(self, part: Part, target: memoryview) -> None:
        read_into(target, self.files[part.file.name], part.offset, what=part.file.name)


@contextmanager
def _opened(folder: Path, sizes: Mapping[str, int], cipher: StreamCipher) -> Iterator[_Target]:
    with ExitStack() as opened:

        def descriptor(name: str) -> int:
            found = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            opened.callback(os.close, found)
            return found

        yield _Target(files={name: descriptor(name) for name in sizes}, tags=descriptor(_TAGS), cipher=cipher)


def _write(descriptor: int, content: memoryview, offset: int) -> None:
    while content:
        count = os.pwrite(descriptor, content, offset)
        content, offset = content[count:], offset + count
