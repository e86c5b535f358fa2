# SPDX-License-Identifier: Apache-2.0
"""The agent of the debug image: production's stages, but the key stays within reach of whoever comes.

Owns four differences: the cap is not extended, unless the credential `mantlet.cap` asks for it; the key is
released a second time, which the TPM's log shows; the kernel may take modules at any time; lines go to a port
that others read and write too. It is in no other image.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path

from mantlet_agent import boot, kernel, record
from mantlet_agent.places import Places
from mantlet_agent.release import Release
from mantlet_agent.stages import Code, Stage, State
from mantlet_agent.tpm import Tpm

_WITH_CAP = "mantlet.cap"
_NO_CREDENTIALS = "/run/no-credentials"


class Uncapped(boot.Boot):
    """A boot whose key can be had again."""

    def require_closed_kernel(self) -> None:
        """Go on: it stays open. The unit waits for the modules that the weights need."""

    def cap(self, tpm: Tpm, release: Release) -> None:
        """Release the key once more instead of closing the way to it."""
        if Path(os.environ.get("CREDENTIALS_DIRECTORY", _NO_CREDENTIALS), _WITH_CAP).exists():
            super().cap(tpm, release)
            return
        kernel.wipe(release.data_key())


class SharedPort(record.Recorder):
    """A record on a port where a login prompt stands: what is typed there is wanted."""

    def __init__(self, places: Places) -> None:
        """Leave the port as it is."""
        self._places = places
        self._verdicts = {}
        self._port = None

    def conclude(self, stage: Stage, code: Code, *, state: State = State.STARTING) -> None:
        """Record in the file, and on a line of its own: each login hangs up those who hold the port open."""
        self.note(stage, code, state=state)
        with suppress(OSError):
            # A port waits for a carrier when it is opened, unless it is told not to.
            port = os.open(self._places.serial, os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK)
            os.set_blocking(port, True)
            os.write(port, f"\nmantlet {stage.value} {code.value}\n".encode("ascii"))
            os.close(port)


if __name__ == "__main__":
    sys.exit(boot.live(Uncapped, SharedPort))
