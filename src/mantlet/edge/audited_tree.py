# SPDX-License-Identifier: Apache-2.0
"""File systems and initrds, unpacked into a folder of ours and described as trees to audit.

Owns which file systems can be looked at, with which program of the tools tree, and the limits: what an image
claims to grow to is asked before it is unpacked. Nothing is mounted and no privilege is needed. Contents are
read when a check asks, so that memory holds one file at most.
"""

import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from mantlet.audit.tree import Node, Tree
from mantlet.edge import audited_ext, process
from mantlet.edge.process import ProcessError
from mantlet.edge.tools import ToolsTree
from mantlet.predict import cpio
from mantlet_measure.errors import UnavailableError, shown

# A file larger than this is no program and no configuration; an initrd with one is refused.
_FILE_LIMIT = 128 << 20
_FILES = 1 << 20
_INITRD_FILES = 1 << 16
_SIZE_LIMIT = 32 << 30
_SECONDS = 900
_CAPABILITY = "security.capability"


class FileSystem(StrEnum):
    """What a partition holds, by its first bytes."""

    EROFS = "erofs"
    SQUASHFS = "squashfs"
    EXT = "ext4"
    BTRFS = "btrfs"
    XFS = "xfs"
    LUKS = "LUKS"
    UNKNOWN = "unknown"


# Linux, include/uapi/linux/magic.h and each file system's own header: where the magic number lies.
_MAGICS: tuple[tuple[int, bytes, FileSystem], ...] = (
    (1024, b"\xe2\xe1\xf5\xe0", FileSystem.EROFS),
    (0, b"hsqs", FileSystem.SQUASHFS),
    (1080, b"\x53\xef", FileSystem.EXT),
    (0x10040, b"_BHRfS_M", FileSystem.BTRFS),
    (0, b"XFSB", FileSystem.XFS),
    (0, b"LUKS\xba\xbe", FileSystem.LUKS),
)
# The program that unpacks each: to a folder, from a file, at an offset in it.
_PROGRAMS: dict[FileSystem, tuple[str, Callable[[Path, Path, int], list[str]]]] = {
    FileSystem.EROFS: (
        "fsck.erofs",
        lambda folder, image, offset: [
            f"--extract={folder}", "--preserve-perms", "--no-preserve-owner", "--xattrs",
            f"--offset={offset}", str(image),
        ],
    ),
    FileSystem.SQUASHFS: (
        "unsquashfs",
        lambda folder, image, offset: [
            "-no-progress", "-quiet", "-offset", str(offset), "-dest", str(folder), str(image)
        ],
    ),
    # It reads no extended attributes.
    FileSystem.EXT: (
        "debugfs",
        lambda folder, image, offset: ["-R", f"rdump / {folder}", f"{image}?offset={offset}"],
    ),
}  # fmt: skip
WITHOUT_ATTRIBUTES = frozenset({FileSystem.EXT})


@dataclass(frozen=True, slots=True)
class _Read:
    """Reads a file that we unpacked ourselves, never through a link."""

    path: Path

    def __call__(self, limit: int) -> bytes:
        """Return at most so many first bytes."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:  # noqa: PTH123, a descriptor has no path
            return file.read(limit)


def kind(partition: memoryview) -> FileSystem:
    """Recognise a file system."""
    for offset, magic, name in _MAGICS:
        if bytes(partition[offset : offset + len(magic)]) == magic:
            return name
    return FileSystem.UNKNOWN


def unpack(
    image: Path, offset: int, system: FileSystem, folder: Path, *, tools: ToolsTree
) -> dict[str, Node]:
    """Unpack the file system at a byte offset of `image` into the new folder and describe it.

    UnavailableError on a file system that nothing here unpacks, one that is damaged, and a missing program.
    """
    if system not in _PROGRAMS:
        raise UnavailableError(
            f"file system: expected one of {', '.join(_PROGRAMS)}, found {system}",
            hint="mount it read-only elsewhere, and audit an image that holds its files as erofs",
        )
    program, arguments = _PROGRAMS[system]
    if not any((tools.root / "usr" / place / program).exists() for place in ("bin", "sbin")):
        raise UnavailableError(
            f"file system {system}: expected the program {program} in the tools tree, found none",
            hint=f"add the package that has {program} to image/tools.yaml; run `mantlet tools make`",
        )
    if system is FileSystem.EXT:
        folder.mkdir()
    if system is FileSystem.EROFS:
        _check_size(image, offset, tools)
    limited = ["prlimit", f"--fsize={_SIZE_LIMIT}", "timeout", str(_SECONDS), program]
    limited += arguments(folder, image, offset)
    try:
        process.run(tools.command(limited, ro=[image], rw=[folder.parent]))
    except ProcessError as failure:
        raise UnavailableError(
            f"file system {system}: expected one that {program} unpacks; {failure.message}",
            hint="get the image again: it is damaged, or cut off",
        ) from None
    nodes = described(folder) if folder.is_dir() else {}
    if system is FileSystem.EXT:
        modes = audited_ext.modes(image, offset, folder.with_suffix(".ls"), tools=tools)
        if missing := nodes.keys() - modes.keys():
            raise UnavailableError(
                f"file system {system}: expected a mode of each file, found none of {shown(min(missing))}",
                hint="get the image again: it is damaged",
            )
        nodes = {path: replace(node, mode=modes[path]) for path, node in nodes.items()}
    if not nodes:
        raise UnavailableError(
            f"file system {system}: expected files, found none", hint="get the image again: it is damaged"
        )
    return nodes


def described(folder: Path) -> dict[str, Node]:
    """Describe every path below a folder. Links are not followed."""
    nodes: dict[str, Node] = {}
    for path in _walk(folder):
        if len(nodes) >= _FILES:
            raise UnavailableError(
                f"file system: expected at most {_FILES} files, found more", hint="audit a smaller image"
            )
        status = path.lstat()
        is_file = stat.S_ISREG(status.st_mode)
        if is_file and not status.st_mode & stat.S_IRUSR:
            # What only its owner's group may read could not be looked at by us either.
            path.chmod(stat.S_IMODE(status.st_mode) | stat.S_IRUSR, follow_symlinks=False)
        name = os.fsencode(path.relative_to(folder)).decode("utf-8", "backslashreplace")
        nodes[f"/{name}"] = Node(
            mode=status.st_mode,
            size=status.st_size if is_file else 0,
            target=_target(path) if stat.S_ISLNK(status.st_mode) else "",
            attributes=_attributes(path) if is_file else {},
            **({"content": _Read(path)} if is_file else {}),
        )
    return nodes


def _check_size(image: Path, offset: int, tools: ToolsTree) -> None:
    """Ask erofs what it would grow to, which its metadata say without unpacking."""
    argv = tools.command(["dump.erofs", "-S", f"--offset={offset}", str(image)], ro=[image])
    told = process.run(argv, check=False)
    match = re.search(rb"total original file size:\s*([0-9]+)", told.stdout)
    if told.returncode != 0 or match is None or int(match[1]) > _SIZE_LIMIT:
        found = "what dump.erofs cannot read" if match is None else f"{int(match[1]):,} bytes"
        raise UnavailableError(
            f"file system erofs: expected at most {_SIZE_LIMIT:,} bytes unpacked, found {found}",
            hint="get the image again: it is damaged, cut off, or made to fill this machine",
        )


def initrd(section: memoryview, folder: Path, *, name: str) -> Tree:
    """Unpack the archives of an initrd over each other, as Linux does, and describe it.

    Files get names of ours in `folder`: no path of the archive reaches this machine. DecodeError
    on what Linux would not unpack, and past the limits of `mantlet.predict.cpio`.
    """
    folder.mkdir()
    nodes: dict[str, Node] = {}
    for number, entry in enumerate(cpio.entries(section, keep=_FILE_LIMIT + 1)):
        if number == _INITRD_FILES or len(entry.content) > _FILE_LIMIT:
            raise UnavailableError(
                f"{name}: expected at most {_INITRD_FILES} files of {_FILE_LIMIT:,} bytes, found more, "
                f"{shown(entry.path)}",
                hint="build the UKI with an initrd that holds programs and configuration",
            )
        parts = [part for part in entry.path.split("/") if part not in ("", ".", "..")]
        if not parts:
            continue
        path = "/" + "/".join(parts)
        if stat.S_ISREG(entry.mode):
            place = folder / str(number)
            place.write_bytes(entry.content)
            nodes[path] = Node(mode=entry.mode, size=len(entry.content), content=_Read(place))
        else:
            target = entry.content.decode("utf-8", "backslashreplace") if stat.S_ISLNK(entry.mode) else ""
            nodes[path] = Node(mode=entry.mode, target=target)
    if not nodes:
        raise UnavailableError(f"{name}: expected files, found none", hint="build the UKI with an initrd")
    return _placed(Tree(name=name, nodes=nodes))


def _placed(tree: Tree) -> Tree:
    """Put what an archive wrote through a link to where Linux puts it, so that no check passes it by."""
    nodes: dict[str, Node] = {}
    for path, node in tree.nodes.items():
        folder, _, last = path.rpartition("/")
        place = tree.resolve(folder) or folder
        nodes[f"{place.rstrip('/')}/{last}"] = node
    return Tree(name=tree.name, nodes=nodes)


def _walk(folder: Path) -> Iterator[Path]:
    waiting = [folder]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                path = Path(entry.path)
                yield path
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(path)


def _target(path: Path) -> str:
    return os.fsencode(path.readlink()).decode("utf-8", "backslashreplace")


def _attributes(path: Path) -> dict[str, bytes]:
    try:
        names = os.listxattr(path, follow_symlinks=False)
        return {name: os.getxattr(path, name, follow_symlinks=False) for name in names if name == _CAPABILITY}
    except OSError as failure:
        raise UnavailableError(
            f"file capabilities of {shown(path.name)}: expected to read them, found {failure.strerror}",
            hint="put the temporary folder (TMPDIR) on a file system with extended attributes",
        ) from None
