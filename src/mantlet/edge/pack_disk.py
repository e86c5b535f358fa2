# SPDX-License-Identifier: Apache-2.0
"""Write the disk image of a weights pack: the partition table by sfdisk, the ciphertext by two processes.

How it is encrypted and where it lies is in `mantlet.weights.pack`. The image gets its final name elsewhere.
"""

import hashlib
import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from mantlet.edge import output, process
from mantlet.edge.tools import ToolsTree
from mantlet.weights import pack as layout
from mantlet.weights.pack import PARTITION_OFFSET, SECTOR
from mantlet_measure.deployment import Model

_CHUNK = 8 << 20
_PROCESSES = 2


@contextmanager
def workers(size: int) -> Iterator[Executor]:
    """Lend what encrypts `size` bytes: two processes, for AES of small sectors holds the interpreter's lock.

    They start at once, beside the tools that come before them; a model of one chunk does with a thread.
    """
    if size <= _CHUNK:
        with ThreadPoolExecutor(max_workers=1) as thread:
            yield thread
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        _PROCESSES, context, signal.signal, (signal.SIGINT, signal.SIG_IGN)
    ) as processes:
        processes.submit(int)
        try:
            yield processes
        except BaseException:
            processes.shutdown(cancel_futures=True)
            raise


def write(
    plain: Path, disk: Path, model: Model, *, key: bytes, tools: ToolsTree, executor: Executor
) -> bytes:
    """Write the disk image of the pack whose file system and hash tree are in `plain`.

    key: 64 bytes, for `model` alone. executor: from `workers`. Returns the SHA-256 of the ciphertext.
    Raises OSError when there is no room, ProcessError when sfdisk fails.
    """
    with disk.open("xb") as file:
        # Takes the room now, so that a full disk shows before the work and not after it.
        os.posix_fallocate(file.fileno(), 0, layout.disk_size(model.size))
    argv = tools.command(
        ["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", "--wipe=never", str(disk)], rw=[disk.parent]
    )
    table = layout.partition_table(model).encode("ascii")
    chunks = [
        (plain, disk, key, offset, min(_CHUNK, model.size - offset))
        for offset in range(0, model.size, _CHUNK)
    ]
    digest = hashlib.sha256()
    with (
        ThreadPoolExecutor(max_workers=1) as beside,
        disk.open("rb") as file,
        output.progress("Encrypting", model.size) as advance,
    ):
        partitioned = beside.submit(process.run, argv, stdin=table)
        file.seek(PARTITION_OFFSET)
        for length in executor.map(_encrypt_chunk, chunks):
            # Read back what was written: the digest is of the bytes on disk, in their order.
            digest.update(file.read(length))
            advance(length)
        partitioned.result()
        os.fsync(file.fileno())
    return digest.digest()


def _encrypt_chunk(chunk: tuple[Path, Path, bytes, int, int]) -> int:
    """Encrypt `length` bytes at `offset` of the plaintext into the partition, and return `length`."""
    plain, disk, key, offset, length = chunk
    with plain.open("rb") as source:
        source.seek(offset)
        sectors = source.read(length)
    with disk.open("r+b") as target:
        target.seek(PARTITION_OFFSET + offset)
        return target.write(layout.encrypt(key, sectors, first=offset // SECTOR))
