# SPDX-License-Identifier: Apache-2.0
"""A stream body as it arrives: the pipe between the process that fetches it and the one that has the key.

Owns the pipe and the start of the other side. The pipe goes one way: who has a network gets nothing of who
has the key, not even an answer. What arrives is ciphertext that nothing vouches for; `stream_body` checks it.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from mantlet_agent import command
from mantlet_agent.places import Places
from mantlet_agent.stages import Code, StageError, blamed
from mantlet_agent.stream_body import Read

UNIT = "mantlet-fetch.service"
# pipe(7): as large as it may be without a privilege, and as a chunk is.
_PIPE_SIZE = 1 << 20


@contextmanager
def fetched(places: Places) -> Iterator[Read]:
    """Have the body fetched, and with the first of it the network started; lend it. StageError."""
    places.body.unlink(missing_ok=True)
    os.mkfifo(places.body, 0o600)
    # Open before its writer is, so that the unit's start does not wait for us while we wait for it.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(places.body, flags)
    try:
        os.set_blocking(descriptor, True)
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        command.start({UNIT: Code.FETCH_FAILED})
        places.body.unlink()
        yield partial(_fill, descriptor)
    finally:
        os.close(descriptor)


def _fill(descriptor: int, target: memoryview) -> None:
    done = 0
    with blamed(Code.FETCH_FAILED):
        while done < len(target):
            count = os.readv(descriptor, [target[done:]])
            if count == 0:
                raise StageError(Code.FETCH_FAILED, f"expected {len(target)} bytes more, found {done}")
            done += count
