# SPDX-License-Identifier: Apache-2.0
"""Fill the disk image of a weights pack: partition table and ciphertext, of a disk body from its plan.

The work is done in chunks by several processes or threads. The model's plaintext is never written, and
nothing is encrypted in place: a part that was written may be written again. How blocks are encrypted is in
`mantlet.weights`; the image gets its final name elsewhere.
"""

import hashlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import TypeVar

from mantlet.edge import output
from mantlet.edge.chunks import CHUNK, SLICE, Chunk, Range, content, cut, in_order, read_into
from mantlet.edge.pack_journal import Journal
from mantlet.edge.pack_plan import Plan
from mantlet.weights import disk as layout
from mantlet.weights import pack
from mantlet.weights.disk import PARTITION_OFFSET
from mantlet.weights.pack import SECTOR
from mantlet_measure.deployment import Model

_Part = TypeVar("_Part", bound=Range)


def encrypt(plan: Plan, disk: Path, *, key: bytes | bytearray, journal: Journal, executor: Executor) -> bytes:
    """Encrypt the plaintext of `plan` into the disk image and return the SHA-256 of the ciphertext.

    key: 64 bytes, for this model alone. What the journal has as done is there already. All is synced in the
    end.
    Raises EOFError when a file is shorter than it was, OSError when there is no room.
    """
    work = partial(_encrypt_chunk, disk, plan.rest, bytes(key))
    model = plan.model
    return fill(
        disk,
        model,
        work,
        lambda done: cut(done, model.size - done, plan.pieces, CHUNK),
        unit=CHUNK,
        journal=journal,
        executor=executor,
    )


def fill(
    disk: Path,
    model: Model,
    work: Callable[[_Part], None],
    parts: Callable[[int], Iterable[_Part]],
    *,
    unit: int,
    journal: Journal,
    executor: Executor,
) -> bytes:
    """Have `work` write each part of the ciphertext into the disk image; return the SHA-256 of all of it.

    parts: gives those from a byte of the body on, a multiple of `unit`. Of what the journal has as done, the
    digest is taken and nothing is written. Raises OSError when there is no room.
    """
    prepare(disk, model)
    done = min(journal.done, model.body_size) // unit * unit
    digest, buffer = hashlib.sha256(), memoryview(bytearray(CHUNK))
    with (
        disk.open("rb") as file,
        journal.kept(file.fileno()) as reached,
        output.progress("Encrypting", model.body_size) as advance,
    ):
        for part in cut(0, done, (), CHUNK):
            _digest(digest.update, buffer, file.fileno(), part)
            advance(part.size)
        for written, _ in in_order(executor, work, parts(done)):
            _digest(digest.update, buffer, file.fileno(), written)
            advance(written.size)
            reached(written.start + written.size)
        os.fsync(file.fileno())
    return digest.digest()


def prepare(disk: Path, model: Model) -> None:
    """Give the image all of its room, so that a full disk shows before the work, and what is not ciphertext.

    What is in the partition already stays. OSError when there is no room.
    """
    head, tail = around(model)
    with open(os.open(disk, os.O_RDWR | os.O_CREAT, 0o644), "r+b") as file:  # noqa: PTH123, it may exist
        os.posix_fallocate(file.fileno(), 0, image_size(model))
        file.write(head)
        file.seek(PARTITION_OFFSET + model.body_size)
        file.write(tail)


def image_size(model: Model) -> int:
    """Return the bytes of the disk image around the body."""
    return layout.size_of(model.partition_size)


def around(model: Model) -> tuple[bytes, bytes]:
    """Return what the disk image holds before and behind the body; its last block ends in zeros."""
    size = model.partition_size
    return layout.head(model.root_hash, size), bytes(size - model.body_size) + layout.tail(
        model.root_hash, size
    )


def _digest(update: Callable[[memoryview], None], buffer: memoryview, file: int, part: Range) -> None:
    """Read back what was written, and nothing ahead: the digest is of the bytes on disk."""
    view = buffer[: part.size]
    read_into(view, file, PARTITION_OFFSET + part.start, what="the disk image")
    update(view)


def _encrypt_chunk(disk: Path, rest: Path, key: bytes, chunk: Chunk) -> None:
    with disk.open("r+b") as target, rest.open("rb") as metadata:
        target.seek(PARTITION_OFFSET + chunk.start)
        for part in cut(chunk.start, chunk.size, chunk.pieces, SLICE):
            sectors = content(metadata.fileno(), part)
            target.write(pack.encrypt(key, sectors, first=part.start // SECTOR))
