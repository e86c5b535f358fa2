# SPDX-License-Identifier: Apache-2.0
"""A folder that the host shares (virtiofs) under a usual tag, and whether the guest runs what it holds."""

from pathlib import Path

from mantlet.edge.attack.beside import Server
from mantlet.edge.attack.scene import Scene

_TAKEN = "taken"


def server(folder: Path, tag: str) -> Server:
    """The server of a new folder in `folder`, which holds a script."""
    socket, shared = folder / "share.socket", folder / "shared"
    shared.mkdir()
    (shared / "run.sh").write_text(f'#!/bin/sh\ntouch "$(dirname "$0")/{_TAKEN}"\n', "ascii")
    return Server(
        argv=(
            *("/usr/libexec/virtiofsd", f"--socket-path={socket}", f"--shared-dir={shared}"),
            # The tools' own sandbox is around it.
            *("--sandbox=none", "--seccomp=none"),
        ),
        socket=socket,
        words=(
            *("-chardev", f"socket,id=share,path={socket}"),
            *("-device", f"vhost-user-fs-pci,chardev=share,tag={tag}"),
        ),
    )


def opened(scene: Scene) -> tuple[str, ...]:
    """Whether the guest has run what it found in the folder."""
    mark = scene.folder / "shared" / _TAKEN
    scene.pace.wait(mark.exists)
    return ("the script in the folder was run",) if mark.exists() else ()
