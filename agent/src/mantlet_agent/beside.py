# SPDX-License-Identifier: Apache-2.0
"""Do one thing in a process of its own while this one goes on: on two processors, half the time.

Owns the fork and how its verdict comes back. There is no thread in the agent, so a fork is whole.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from mantlet_agent.stages import Code, StageError

_CODES = tuple(Code)


@contextmanager
def beside(work: Callable[[], None]) -> Iterator[None]:
    """Do `work` beside the body. StageError with the code of `work` when it failed, once the body is done."""
    child = os.fork()
    if child == 0:
        _do(work)
    yield
    _, status = os.waitpid(child, 0)
    code = _CODES[os.waitstatus_to_exitcode(status)] if os.WIFEXITED(status) else Code.UNEXPECTED
    if code is not Code.OK:
        raise StageError(code, "in the process beside")


def _do(work: Callable[[], None]) -> NoReturn:
    """Do `work` and end this process; the exit code is the verdict's place in `Code`, `ok` the first."""
    code = Code.UNEXPECTED
    try:
        work()
        code = Code.OK
    except StageError as error:
        code = error.code
    finally:
        # No handler, no buffer and no traceback of the parent's runs twice.
        os._exit(_CODES.index(code))
