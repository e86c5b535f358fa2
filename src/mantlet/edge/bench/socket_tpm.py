# SPDX-License-Identifier: Apache-2.0
"""A software TPM that programs of the tools tree talk to, without a machine around it.

Owns its start and end and the folder of its sockets. How its state is made is in `mantlet.edge.software_tpm`.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mantlet.edge.process import Running
from mantlet.edge.tools import ToolsTree
from mantlet_measure.errors import UnavailableError

_SECONDS = 30.0


@contextmanager
def powered(state: Path, *, log: Path, tools: ToolsTree) -> Iterator[Path]:
    """Power a TPM on for the block; yield the folder of its sockets, which programs need to be given."""
    # Unix sockets have short names only.
    with tempfile.TemporaryDirectory(prefix="mantlet-") as name:
        sockets = Path(name)
        words = [
            *("swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}"),
            *("--server", f"type=unixio,path={sockets / 'tpm'}"),
            # Where tpm2-tss looks for it: at the name of the other one, with this suffix.
            *("--ctrl", f"type=unixio,path={sockets / 'tpm.ctrl'}"),
            *("--flags", "not-need-init,startup-clear"),
        ]
        tpm = Running(tools.command(words, rw=[state, sockets]), log=log)
        try:
            wait_for(sockets / "tpm", tpm)
            yield sockets
        finally:
            tpm.stop()


def tcti(sockets: Path) -> str:
    """Return what a program opens the TPM by."""
    return f"swtpm:path={sockets / 'tpm'}"


def wait_for(path: Path, owner: Running) -> None:
    """Wait for a socket that a process makes. UnavailableError when it ends, or takes too long."""
    end = time.monotonic() + _SECONDS
    while not path.exists():
        if owner.returncode is not None or time.monotonic() > end:
            raise UnavailableError(
                f"expected {owner.program} to listen, found: {owner.last_words()}",
                hint="run `scripts/just tools`, and check that build/ is writable",
            )
        time.sleep(0.05)
