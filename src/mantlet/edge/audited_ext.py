# SPDX-License-Identifier: Apache-2.0
"""The modes of the files of an ext4 file system, read by debugfs without a mount.

debugfs copies files out, but sets their owner last, by which the kernel takes setuid bits away: a check that
trusted the copy would be blind for them. It lists directories as they are, and those lists are read here.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from mantlet.edge import process
from mantlet.edge.tools import ToolsTree
from mantlet_measure.errors import UnavailableError, shown

# ext4, Documentation/filesystems/ext4/special_inodes.rst
_ROOT = 2
_DEPTH = 64
_FILES = 1 << 20
_REQUEST = re.compile(rb"^debugfs: +ls -p <([0-9]+)>$")
# debugfs(8), `ls -p`: inode, mode in octal, uid, gid, name, size
_ENTRY = re.compile(rb"^/([0-9]+)/([0-7]{6})/[0-9]+/[0-9]+/([^/]*)/[0-9]*/?$")


def modes(image: Path, offset: int, requests: Path, *, tools: ToolsTree) -> dict[str, int]:
    """Return the mode of each path of the file system at a byte offset of `image`.

    requests: a file of ours for debugfs to read; it is overwritten. UnavailableError on lists that are none.
    """
    found: dict[str, int] = {}
    waiting = {_ROOT: ""}
    for _ in range(_DEPTH):
        if not waiting:
            return found
        requests.write_text("".join(f"ls -p <{inode}>\n" for inode in waiting), "ascii")
        argv = ["debugfs", "-f", str(requests), f"{image}?offset={offset}"]
        told = process.run(tools.command(argv, ro=[image, requests])).stdout
        below: dict[int, str] = {}
        for folder, inode, mode, name in _entries(told, waiting):
            # Inode 0: an entry that is not in use.
            if not inode or name in (".", ".."):
                continue
            found[f"{folder}/{name}"] = mode
            if mode & 0o170000 == 0o040000:
                below[inode] = f"{folder}/{name}"
        if len(found) > _FILES:
            _refuse(f"at most {_FILES} files", "more")
        waiting = below
    _refuse(f"at most {_DEPTH} directories in each other", "more")


def _entries(told: bytes, waiting: dict[int, str]) -> Iterator[tuple[str, int, int, str]]:
    folder = ""
    for line in told.splitlines():
        if (request := _REQUEST.match(line)) is not None:
            folder = waiting.get(int(request[1]), "")
        elif (entry := _ENTRY.match(line)) is not None:
            yield folder, int(entry[1]), int(entry[2], 8), entry[3].decode("utf-8", "backslashreplace")
        elif line.strip():
            _refuse("a list of debugfs", shown(line))


def _refuse(expected: str, found: str) -> NoReturn:
    raise UnavailableError(
        f"file system ext4: expected {expected}, found {found}",
        hint="get the image again: it is damaged, or has file names that nobody could type",
    )
