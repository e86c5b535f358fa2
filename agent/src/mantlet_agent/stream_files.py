# SPDX-License-Identifier: Apache-2.0
"""The files of a stream body, written in a thread beside the one that reads and opens the chunks.

Owns that thread and the descriptor. The body's plaintext is the files' bytes, one after the other, so nothing
but sizes is needed to cut it. What is handed over has authenticated: nothing is checked here.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mantlet_measure.body import StreamFile


class Writer:
    """Writes what it is handed, in order, one piece at a time. A context manager: with it the thread ends.

    Leaving it waits for what was handed over, and raises the OSError that this met, in place of the block's
    own error, which came later in the body.
    """

    def __init__(self, folder: Path, files: Sequence[StreamFile]) -> None:
        """Take the empty folder, and the files in the order of their bytes."""
        self._folder = folder
        self._files = files
        self._thread = threading.Thread(target=self._run)
        # A side waits for its lock, and the other one releases it: a piece is there, or none is in work.
        self._handed, self._idle = threading.Lock(), threading.Lock()
        self._handed.acquire()
        self._piece: memoryview | None = None
        self._ended = self._whole = False
        self._error = OSError("the thread that writes the files has ended")

    def __enter__(self) -> "Writer":
        """Start the thread. OSError when there may be no more."""
        try:
            self._thread.start()
        except RuntimeError as error:
            raise OSError(str(error)) from error
        return self

    def __exit__(self, *_: object) -> None:
        """Wait until the last piece is written, the file closed and the thread gone. OSError."""
        self._idle.acquire()
        self._piece = None
        self._handed.release()
        self._thread.join()
        if not self._whole:
            raise self._error

    def write(self, piece: memoryview) -> None:
        """Hand over what follows, once the piece before it is written. OSError when that could not be.

        It must stay as it is until the next call has returned.
        """
        self._idle.acquire()
        if self._ended:
            self._idle.release()
            raise self._error
        self._piece = piece
        self._handed.release()

    def _run(self) -> None:
        try:
            self._write_all()
            self._whole = True
        except OSError as error:
            self._error = error
        finally:
            # Whatever ended it: nobody waits for a thread that is gone, nor takes its files for whole.
            self._ended = True
            self._idle.release()

    def _write_all(self) -> None:
        files, target, left = iter(self._files), -1, 0
        with ExitStack() as opened:
            for piece in self._pieces():
                rest = piece
                while rest:
                    if left == 0:
                        opened.close()
                        file = next(files)
                        target, left = opened.enter_context(_new(self._folder / file.name)), file.size
                    done = os.write(target, rest[:left])
                    rest, left = rest[done:], left - done

    def _pieces(self) -> Iterator[memoryview]:
        while self._handed.acquire() and self._piece is not None:
            yield self._piece
            self._idle.release()


@contextmanager
def _new(path: Path) -> Iterator[int]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o444)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
