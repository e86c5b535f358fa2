# SPDX-License-Identifier: Apache-2.0
"""The one door through which the agent starts another program, and the one order that goes through it.

Owns the call of systemctl: no shell, an empty environment, no input, no output. All else the agent asks of
the kernel itself, so that there is no command line for a secret to be on.
"""

import os

from mantlet_agent.stages import Code, StageError, blamed

_SYSTEMCTL = "/usr/bin/systemctl"


def start(unit: str, *, failed: Code) -> None:
    """Start a unit and wait for the job to end. StageError with `failed` when it does not start."""
    with blamed(failed):
        exit_code = _run(_SYSTEMCTL, "start", "--quiet", "--no-ask-password", unit)
    if exit_code != 0:
        raise StageError(failed, f"systemctl start {unit}: exit code {exit_code}")


def _run(*argv: str) -> int:
    null = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
    silent = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0) for number in (1, 2)]
    child = os.posix_spawn(argv[0], argv, {"SYSTEMD_PAGER": ""}, file_actions=[null, *silent])
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)
