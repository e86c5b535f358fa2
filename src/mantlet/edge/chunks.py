# SPDX-License-Identifier: Apache-2.0
"""Work on a large range of bytes, chunk by chunk, by as many processes or threads as there are cores.

Owns the cutting, the processes and threads, and the reading of a range whose bytes lie in several files.
Memory does not grow with the range. What is done with a chunk is the caller's matter.
"""

import ctypes
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

from mantlet.weights import verity
from mantlet_measure.errors import UnavailableError

# What a process handles at once, small enough for its cache: the blocks whose digests fill a hash block.
SLICE = verity.FANOUT * verity.BLOCK
# What it is given at once.
CHUNK = 8 * SLICE
# One process digests what all the others make: beyond so many they would wait for it.
_MOST = 8
# Linux, include/uapi/linux/prctl.h.
_PR_SET_PDEATHSIG = 1


class Range(Protocol):
    """A part of a range of bytes: `size` of them from `start`."""

    @property
    def start(self) -> int:
        """Where it starts."""

    @property
    def size(self) -> int:
        """The bytes that it has."""


_Part = TypeVar("_Part", bound=Range)
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Bytes of a range that are in a file of their own: `size` from `start`, the file's first on."""

    path: Path
    start: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A part of a range, and the pieces that reach into it."""

    start: int
    size: int
    pieces: tuple[Piece, ...]


@contextmanager
def workers(size: int) -> Iterator[Executor]:
    """Lend what works on `size` bytes: a process for each core, for AES of small sectors holds the lock.

    The lock is the interpreter's. They start at once, beside the tools that come before them; one chunk is
    work for a thread.
    """
    if size <= CHUNK:
        with ThreadPoolExecutor(max_workers=1) as thread, _cancelling(thread):
            yield thread
        return
    # Forked before this process has a thread: no interpreter to start, no module to import twice.
    context = multiprocessing.get_context("fork")
    count = _processes()
    with ProcessPoolExecutor(count, context, _begin, (os.getpid(),)) as processes, _cancelling(processes):
        processes.submit(int)
        yield processes


@contextmanager
def threads() -> Iterator[Executor]:
    """Lend a thread for each core, for work that lets go of the interpreter's lock: files, AES of 1 MiB."""
    with ThreadPoolExecutor(_processes()) as executor, _cancelling(executor):
        yield executor


def cut(start: int, size: int, pieces: Sequence[Piece], step: int) -> Iterator[Chunk]:
    """Cut a part of a range into chunks of `step` bytes; `pieces` are sorted by their place."""
    waiting, reaching = deque(pieces), list[Piece]()
    end = start + size
    for place in range(start, end, step):
        until = min(place + step, end)
        while waiting and waiting[0].start < until:
            reaching.append(waiting.popleft())
        reaching = [piece for piece in reaching if piece.start + piece.size > place]
        yield Chunk(start=place, size=until - place, pieces=tuple(reaching))


def in_order(
    executor: Executor, work: Callable[[_Part], _Result], parts: Iterable[_Part]
) -> Iterator[tuple[_Part, _Result]]:
    """Have `work` done on all parts, few at a time, and yield each with its result, in their order.

    When `parts` cannot go on (UnavailableError), what it gave before is yielded first.
    """
    left, ahead = iter(parts), 4 * _processes()
    running: deque[tuple[_Part, Future[_Result]]] = deque()
    failure: UnavailableError | None = None
    while True:
        try:
            for part in islice(left, ahead - len(running)):
                running.append((part, executor.submit(work, part)))
        except UnavailableError as error:
            failure, left = error, iter(())
        if not running:
            break
        part, future = running.popleft()
        yield part, future.result()
    if failure is not None:
        raise failure


def content(rest: int, chunk: Chunk, *, offset: int = 0) -> bytearray:
    """Read a chunk: its pieces from their files, and what is between them from the descriptor `rest`.

    offset: of the range in `rest`. Raises EOFError, which a process can hand to another, when a file ends
    before.
    """
    data = bytearray(chunk.size)
    view = memoryview(data)
    done = 0
    for piece in chunk.pieces:
        start = max(piece.start - chunk.start, 0)
        end = min(piece.start + piece.size - chunk.start, chunk.size)
        read_into(view[done:start], rest, offset + chunk.start + done, what="the disk image")
        with piece.path.open("rb", buffering=0) as file:
            place = chunk.start + start - piece.start
            read_into(view[start:end], file.fileno(), place, what=str(piece.path))
        done = end
    read_into(view[done:], rest, offset + chunk.start + done, what="the disk image")
    return data


def read_into(target: memoryview, file: int, offset: int, *, what: str) -> None:
    """Fill `target` from a file. EOFError when the file ends before."""
    done = 0
    while done < len(target):
        count = os.preadv(file, [target[done:]], offset + done)
        if count == 0:
            raise EOFError(f"{what}: expected {len(target)} bytes at {offset}, found {done}")
        done += count


@contextmanager
def _cancelling(executor: Executor) -> Iterator[None]:
    """Begin nothing more once the work is broken off."""
    try:
        yield
    except BaseException:
        executor.shutdown(cancel_futures=True)
        raise


def _begin(parent: int) -> None:
    """Leave interrupts to the parent, and end with it: an orphan would hold its lock, and go on writing."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # It may have died before it was asked to say so.
    if os.getppid() != parent:
        os._exit(1)


def _processes() -> int:
    return min(len(os.sched_getaffinity(0)), _MOST)
