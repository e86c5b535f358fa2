# SPDX-License-Identifier: Apache-2.0
"""Fill the disk image of a weights pack: hash tree, ciphertext, partition table.

The work is done in chunks by two processes. The model's plaintext is never written: hashing and encryption
read its files where they are. Only the metadata of the file system, which mkfs.erofs has put into the
partition, and the tree are encrypted in place. How blocks are hashed and encrypted is in `mantlet.weights`;
the image gets its final name elsewhere.
"""

import hashlib
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from mantlet.edge import output, process
from mantlet.edge.tools import ToolsTree
from mantlet.weights import pack as layout
from mantlet.weights import verity
from mantlet.weights.pack import PARTITION_OFFSET, SECTOR, Layout
from mantlet_measure.deployment import Model
from mantlet_measure.errors import UnavailableError

# What a process handles at once, small enough for its cache: the blocks whose digests fill a hash block.
_SLICE = verity.FANOUT * verity.BLOCK
# What it is given at once.
_CHUNK = 8 * _SLICE
_PROCESSES = 2
_AHEAD = 4 * _PROCESSES


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Bytes of the partition that are in a file of their own: `size` from `start`, the file's first on."""

    path: Path
    start: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chunk:
    """A part of the partition, and the pieces that reach into it."""

    start: int
    size: int
    pieces: tuple[Piece, ...]


@contextmanager
def workers(size: int) -> Iterator[Executor]:
    """Lend what hashes and encrypts `size` bytes: two processes, for AES of small sectors holds the lock.

    The lock is the interpreter's. They start at once, beside the tools that come before them; a model of one
    chunk does with a thread.
    """
    if size <= _CHUNK:
        with ThreadPoolExecutor(max_workers=1) as thread:
            yield thread
        return
    # Forked before this process has a thread: no interpreter to start, no module to import twice.
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(
        _PROCESSES, context, signal.signal, (signal.SIGINT, signal.SIG_IGN)
    ) as processes:
        processes.submit(int)
        try:
            yield processes
        except BaseException:
            processes.shutdown(cancel_futures=True)
            raise


def hash_tree(
    disk: Path, parts: Layout, pieces: Sequence[Piece], *, salt: bytes, executor: Executor
) -> bytes:
    """Write the hash tree behind the file system in the partition, and return the root hash.

    disk: holds the file system but for `pieces`, which are sorted by their place; it takes all of its room
    now, so that a full disk shows before the work and not after it. executor: from `workers`.
    Raises UnavailableError when a file is shorter than it was, OSError when there is no room.
    """
    with disk.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, layout.disk_size(parts.size))
    below, size = 0, parts.hash_offset
    with output.progress("Hashing", parts.size) as advance:
        for level in verity.levels(parts.data_blocks):
            start = parts.hash_offset + level.first * verity.BLOCK
            work = partial(_hash_chunk, disk, salt, below, start)
            for chunk in _in_order(executor, work, _cut(below, size, pieces, _CHUNK)):
                advance(chunk.size)
            below, size = start, level.blocks * verity.BLOCK
    with disk.open("rb") as file:
        return verity.digests(_content(file.fileno(), next(_cut(below, size, pieces, _SLICE))), salt=salt)


def encrypt(
    disk: Path, model: Model, pieces: Sequence[Piece], *, key: bytes, tools: ToolsTree, executor: Executor
) -> bytes:
    """Encrypt the partition whose plaintext `hash_tree` has completed, and write the partition table.

    key: 64 bytes, for `model` alone. Returns the SHA-256 of the ciphertext, all of which is synced to disk.
    Raises UnavailableError when a file is shorter than it was, OSError when there is no room, ProcessError
    when sfdisk fails.
    """
    argv = tools.command(
        ["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", "--wipe=never", str(disk)], rw=[disk.parent]
    )
    table = layout.partition_table(model).encode("ascii")
    digest, written = hashlib.sha256(), memoryview(bytearray(_CHUNK))
    work = partial(_encrypt_chunk, disk, key)
    with (
        ThreadPoolExecutor(max_workers=1) as beside,
        disk.open("rb") as file,
        output.progress("Encrypting", model.size) as advance,
    ):
        partitioned = beside.submit(process.run, argv, stdin=table)
        for chunk in _in_order(executor, work, _cut(0, model.size, pieces, _CHUNK)):
            # Read back what was written, and nothing ahead: the digest is of the bytes on disk.
            view = written[: chunk.size]
            _read(file.fileno(), view, PARTITION_OFFSET + chunk.start, what=str(disk))
            digest.update(view)
            advance(chunk.size)
        partitioned.result()
        os.fsync(file.fileno())
    return digest.digest()


def _cut(start: int, size: int, pieces: Sequence[Piece], step: int) -> Iterator[_Chunk]:
    """Cut a part of the partition into chunks of `step` bytes; `pieces` are sorted by their place."""
    waiting, reaching = deque(pieces), list[Piece]()
    end = start + size
    for place in range(start, end, step):
        until = min(place + step, end)
        while waiting and waiting[0].start < until:
            reaching.append(waiting.popleft())
        reaching = [piece for piece in reaching if piece.start + piece.size > place]
        yield _Chunk(start=place, size=until - place, pieces=tuple(reaching))


def _in_order(
    executor: Executor, work: Callable[[_Chunk], None], chunks: Iterable[_Chunk]
) -> Iterator[_Chunk]:
    """Have `work` done on all chunks, few at a time, and yield each, in their order, when it is done."""
    left = iter(chunks)
    running: deque[tuple[_Chunk, Future[None]]] = deque()
    while True:
        for chunk in islice(left, _AHEAD - len(running)):
            running.append((chunk, executor.submit(work, chunk)))
        if not running:
            return
        chunk, future = running.popleft()
        try:
            future.result()
        except EOFError as short:
            raise UnavailableError(
                f"{short}: the file shrank meanwhile", hint="pack it again when nothing writes to it"
            ) from None
        yield chunk


def _hash_chunk(disk: Path, salt: bytes, below: int, level: int, chunk: _Chunk) -> None:
    """Hash a chunk of what starts at `below` into the level that starts at `level`."""
    with disk.open("r+b") as file:
        file.seek(PARTITION_OFFSET + level + (chunk.start - below) // verity.FANOUT)
        for part in _cut(chunk.start, chunk.size, chunk.pieces, _SLICE):
            file.write(verity.hash_blocks(_content(file.fileno(), part), salt=salt))


def _encrypt_chunk(disk: Path, key: bytes, chunk: _Chunk) -> None:
    with disk.open("r+b") as file:
        file.seek(PARTITION_OFFSET + chunk.start)
        for part in _cut(chunk.start, chunk.size, chunk.pieces, _SLICE):
            sectors = _content(file.fileno(), part)
            file.write(layout.encrypt(key, sectors, first=part.start // SECTOR))


def _content(disk: int, chunk: _Chunk) -> bytearray:
    """Read the plaintext of a chunk: its pieces from their files, and from the disk what is between them."""
    content = bytearray(chunk.size)
    view = memoryview(content)
    done = 0
    for piece in chunk.pieces:
        start = max(piece.start - chunk.start, 0)
        end = min(piece.start + piece.size - chunk.start, chunk.size)
        _read(disk, view[done:start], PARTITION_OFFSET + chunk.start + done, what="the disk image")
        with piece.path.open("rb", buffering=0) as file:
            _read(file.fileno(), view[start:end], chunk.start + start - piece.start, what=str(piece.path))
        done = end
    _read(disk, view[done:], PARTITION_OFFSET + chunk.start + done, what="the disk image")
    return content


def _read(file: int, target: memoryview, offset: int, *, what: str) -> None:
    """Fill `target` from a file. EOFError, which a process can hand to another, when the file ends before."""
    done = 0
    while done < len(target):
        count = os.preadv(file, [target[done:]], offset + done)
        if count == 0:
            raise EOFError(f"{what}: expected {len(target)} bytes at {offset}, found {done}")
        done += count
