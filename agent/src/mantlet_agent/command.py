# SPDX-License-Identifier: Apache-2.0
"""The one door through which the agent starts another program, and the two orders that go through it.

Owns the calls of systemctl: no shell, an empty environment, no input, no output. All else the agent asks of
the kernel itself, so that there is no command line for a secret to be on.
"""

import os
from collections.abc import Mapping

from mantlet_agent.stages import Code, StageError, blamed

_SYSTEMCTL = "/usr/bin/systemctl"


def start(units: Mapping[str, Code]) -> None:
    """Start units side by side, wait for their jobs. StageError with the code of one that failed."""
    first = next(iter(units.values()))
    with blamed(first):
        exit_code = _systemctl("start", *units)
    if exit_code != 0:
        # One that failed and is up again all the same has failed: the first stands for those.
        code = next((code for unit, code in units.items() if _systemctl("is-active", unit) != 0), first)
        raise StageError(code, f"systemctl start {' '.join(units)}: exit code {exit_code}")


def _systemctl(verb: str, *units: str) -> int:
    return _run(_SYSTEMCTL, verb, "--quiet", "--no-ask-password", *units)


def _run(*argv: str) -> int:
    null = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
    silent = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0) for number in (1, 2)]
    child = os.posix_spawn(argv[0], argv, {"SYSTEMD_PAGER": ""}, file_actions=[null, *silent])
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)
