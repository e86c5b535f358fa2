# SPDX-License-Identifier: Apache-2.0
"""Stage launch for a stream body: from its ciphertext to files in memory that nobody can write.

Owns the order: key, tmpfs, chunk by chunk, key gone, read-only; and the way back, which leaves nothing
mounted. Nothing of a chunk is written before all of it has authenticated (docs/formats.md, *Stream body*).
Whether the model may be opened at all is decided before. Where the ciphertext comes from is a parameter.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from mantlet_agent import block, kernel
from mantlet_agent.block import Partition
from mantlet_agent.places import Places
from mantlet_agent.stages import Code, StageError
from mantlet_agent.stream_files import Writer
from mantlet_measure.body import CHUNK_SIZE, TAG_SIZE, Stream
from mantlet_measure.deployment import Model
from mantlet_measure.errors import DecodeError
from mantlet_measure.stream import StreamCipher, stream_key

# Fills a buffer with what follows in the body.
Read = Callable[[memoryview], None]

_HUGE_PAGE = 2 << 20
# The disk reads on while chunks are opened. It is told so once for eight: a call for each took 2 ms of 33.
_AHEAD = 8 * CHUNK_SIZE


def open_stream(
    places: Places, source: AbstractContextManager[Read], model: Model, stream: Stream, key: bytearray
) -> None:
    """Decrypt the model into memory at its place; wipe the data key. StageError, then nothing is mounted.

    source: lends the body from its start, once there is room for it.
    """
    try:
        derived = stream_key(key, model.root_hash)
    finally:
        kernel.wipe(key)
    with ExitStack() as undo:
        undo.callback(kernel.wipe, derived)
        with _failing(Code.MAPPING_FAILED):
            _require_memory(_room(stream))
            places.weights.mkdir(mode=0o755, exist_ok=True)
            kernel.mount_memory(places.weights, size=_room(stream))
        with ExitStack() as mounted:
            mounted.callback(kernel.unmount, places.weights)
            with _failing(Code.WEIGHTS_CORRUPT), source as read:
                unwrap(read, stream, StreamCipher(derived, model.root_hash), places.weights)
                kernel.forbid_writing(places.weights)
            mounted.pop_all()


def unwrap(read: Read, stream: Stream, cipher: StreamCipher, folder: Path) -> None:
    """Write the files of the body that `read` gives into the empty `folder`.

    Memory is that of five chunks: two are written while the next two are read and opened, one by one. Raises
    DecodeError at the first chunk that does not authenticate, OSError when something cannot be read or
    written; neither thread nor descriptor is left then.
    """
    sealed = memoryview(bytearray(CHUNK_SIZE + TAG_SIZE))
    pages = tuple(memoryview(bytearray(_HUGE_PAGE)) for _ in range(2))
    filled = 0
    with Writer(folder, stream.files) as writer:
        for chunk in stream.chunks():
            ciphertext, page = sealed[: chunk.sealed_size], pages[0]
            read(ciphertext)
            cipher.open_into(chunk, ciphertext, page[filled : filled + chunk.size])
            filled += chunk.size
            if filled == _HUGE_PAGE or chunk.last:
                writer.write(page[:filled])
                # The other one is written by now.
                pages, filled = pages[::-1], 0


@contextmanager
def stored(partition: Partition) -> Iterator[Read]:
    """Lend the body that a partition holds. OSError when its node is another device."""
    with block.reading(partition) as descriptor:
        yield reader(descriptor)


def reader(source: int) -> Read:
    """Return what reads a file or device from its start and has it read ahead. It raises OSError."""
    place = told = 0

    def read(target: memoryview) -> None:
        nonlocal place, told
        if told < place + _AHEAD:
            os.posix_fadvise(source, told, _AHEAD, os.POSIX_FADV_WILLNEED)
            told += _AHEAD
        done = 0
        while done < len(target):
            count = os.preadv(source, [target[done:]], place + done)
            if count == 0:
                raise OSError(f"expected {len(target)} bytes at {place}, found {done}")
            done += count
        place += done

    return read


def _require_memory(size: int) -> None:
    """Refuse what cannot fit: the kernel would end a process of its choice instead. OSError."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if memory <= size:
        raise OSError(f"expected more than {size} bytes of memory, found {memory}")


def _room(stream: Stream) -> int:
    """The bytes of a tmpfs that holds the files: each takes whole huge pages, and the folder one more."""
    pages = 1 + sum(-(-file.size // _HUGE_PAGE) for file in stream.files)
    return pages * _HUGE_PAGE


@contextmanager
def _failing(code: Code) -> Iterator[None]:
    try:
        yield
    except (OSError, DecodeError) as error:
        raise StageError(code, str(error)) from error
