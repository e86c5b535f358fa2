# SPDX-License-Identifier: Apache-2.0
"""What files a build is made of: `contents.json`, the digest of each file of root and initrd.

Owns how the two are read; which differences between two such lists matter is decided by `mantlet.explain`
(docs/formats.md, *contents.json*). Modes, owners and directories are not in it: nothing here proves an image.
"""

import hashlib
import shutil
import stat
from pathlib import Path

from mantlet.edge import files, process
from mantlet.edge.tools import ToolsTree
from mantlet.predict import cpio, uki
from mantlet.predict.pe import LIMIT
from mantlet_measure.errors import DecodeError


def listed(root: Path, image: Path, *, scratch: Path, tools: ToolsTree) -> dict[str, dict[str, str]]:
    """Return for `root` (an erofs image) and `initrd` (of the UKI `image`) what each path holds.

    A path has no leading slash; a file is its SHA-256, a symbolic link `-> ` and its target.
    scratch: a folder to be made and removed. Needs no privileges. ProcessError when fsck.erofs refuses the
    root, DecodeError when the initrd is none.
    """
    return {
        "root": _root(root, scratch=scratch, tools=tools),
        "initrd": _initrd(files.read(image, limit=LIMIT, what=uki.WHAT)),
    }


def _root(image: Path, *, scratch: Path, tools: ToolsTree) -> dict[str, str]:
    files.new_directory(scratch)
    folder = scratch / "root"
    # Neither owners nor modes: a file that its owner may not read could not be hashed.
    argv = ["fsck.erofs", f"--extract={folder}", "--no-preserve", str(image)]
    try:
        process.run(tools.command(argv, ro=[image], rw=[scratch]))
        return {
            str(path.relative_to(folder)): _said(path)
            for path in sorted(folder.rglob("*"))
            if path.is_symlink() or path.is_file()
        }
    finally:
        shutil.rmtree(scratch)


def _said(path: Path) -> str:
    if path.is_symlink():
        return _link(str(path.readlink()))
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _initrd(data: bytes) -> dict[str, str]:
    decoded = uki.decode(data)
    section = decoded.sections().get(".initrd")
    if section is None:
        raise DecodeError(uki.WHAT, expected="a section .initrd", found="none")
    found: dict[str, str] = {}
    # Linux, init/initramfs.c: what comes later replaces what is there.
    for entry in cpio.entries(decoded.image.content(section), keep=LIMIT):
        found.pop(entry.path, None)
        if stat.S_ISREG(entry.mode):
            found[entry.path] = hashlib.sha256(entry.content).hexdigest()
        elif stat.S_ISLNK(entry.mode):
            found[entry.path] = _link(entry.content.decode("utf-8", "backslashreplace"))
    return found


def _link(target: str) -> str:
    return f"-> {target}"
