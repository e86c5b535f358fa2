# SPDX-License-Identifier: Apache-2.0
"""The root and the initrd of a built image, unpacked to look at: what each path is, and its content.

Modes come from the unpacked files, owners and extended attributes from the images themselves, so that it is
the same audit with and without root. It judges nothing.
"""

import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mantlet.edge import process
from mantlet.edge.tools import ToolsTree

TRAILER = "TRAILER!!!"
# The frames of .initrd, which mkosi pads to 4 bytes each, in one stream.
EXPAND = """
import sys
from compression import zstd
data = sys.stdin.buffer.read()
while data:
    frame = zstd.ZstdDecompressor()
    sys.stdout.buffer.write(frame.decompress(data))
    data = frame.unused_data.lstrip(b"\\0")
"""
DUMP = 'while IFS= read -r path; do dump.erofs --path="$path" "$0"; done'
DUMPED = re.compile(
    r"^Path : (?P<path>.*?)\n.*?^Inode size: \d+ +Xattr size: (?P<extended>\d+)\n"
    r"Uid: (?P<owner>\d+) +Gid: (?P<group>\d+)",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One path: its mode, its owner, the size of its extended attributes in bytes, the target of a link."""

    mode: int
    owner: int
    group: int
    extended: int
    target: str

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.mode)

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.mode)

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.mode)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """An unpacked file system; paths start with a slash."""

    name: str
    folder: Path
    entries: Mapping[str, Entry]

    def read(self, path: str) -> bytes:
        """The content of a file."""
        return (self.folder / path.lstrip("/")).read_bytes()

    def text(self, path: str) -> str:
        """The content of a text file."""
        return self.read(path).decode("utf-8")

    def below(self, *folders: str) -> list[str]:
        """The files and links below folders, sorted."""
        return sorted(
            path
            for path, entry in self.entries.items()
            if not entry.is_directory and path.startswith(tuple(f"{folder}/" for folder in folders))
        )

    def resolve(self, path: str) -> str | None:
        """Follow symbolic links as the machine would; None when they lead nowhere."""
        for _ in range(40):
            for part in (*reversed(PurePosixPath(path).parents), PurePosixPath(path)):
                entry = self.entries.get(str(part))
                if entry is not None and entry.is_link:
                    path = _join(part.parent / entry.target / PurePosixPath(path).relative_to(part))
                    break
            else:
                return path if path in self.entries else None
        return None


def unpack_root(image: Path, folder: Path, *, tools: ToolsTree) -> Tree:
    """Unpack an erofs image into a new folder."""
    argv = ["fsck.erofs", f"--extract={folder}", "--preserve-perms", "--no-preserve-owner", str(image)]
    process.run(tools.command(argv, ro=[image], rw=[folder.parent]))
    modes = {}
    for path in sorted(folder.rglob("*")):
        modes[f"/{path.relative_to(folder)}"] = mode = path.lstat().st_mode
        if stat.S_ISREG(mode) and not mode & stat.S_IRUSR:
            path.chmod(stat.S_IMODE(mode) | stat.S_IRUSR)
    dump = tools.command(["bash", "-c", DUMP, str(image)], ro=[image])
    dumped = process.run(dump, stdin="".join(f"{path}\n" for path in modes).encode()).stdout.decode()
    found = {match["path"]: match for match in DUMPED.finditer(dumped)}
    assert found.keys() == modes.keys()
    return Tree(
        name="root",
        folder=folder,
        entries={
            path: Entry(
                mode=mode,
                owner=int(found[path]["owner"]),
                group=int(found[path]["group"]),
                extended=int(found[path]["extended"]),
                target=str((folder / path[1:]).readlink()) if stat.S_ISLNK(mode) else "",
            )
            for path, mode in modes.items()
        },
    )


def unpack_initrd(section: bytes, folder: Path, *, tools: ToolsTree) -> Tree:
    """Unpack the archives of .initrd over each other, as the kernel does; they have no such attributes."""
    data = process.run(tools.command(["python3", "-Ic", EXPAND]), stdin=section).stdout
    entries: dict[str, Entry] = {}
    offset = 0
    while offset < len(data):
        # Linux, Documentation/driver-api/early-userspace/buffer-format.rst: newc, and zeros between archives.
        assert data[offset : offset + 6] == b"070701"
        fields = [int(data[offset + 6 + 8 * i : offset + 14 + 8 * i], 16) for i in range(13)]
        mode, owner, group, size, length = fields[1], fields[2], fields[3], fields[6], fields[11]
        name = data[offset + 110 : offset + 110 + length - 1].decode()
        start = offset + 110 + length + -(offset + 110 + length) % 4
        content = data[start : start + size]
        offset = start + size + -(start + size) % 4
        if name == TRAILER:
            offset += len(data[offset:]) - len(data[offset:].lstrip(b"\0"))
            continue
        path = _join(PurePosixPath("/") / name)
        if path == "/":
            continue
        target = content.decode() if stat.S_ISLNK(mode) else ""
        entries[path] = Entry(mode=mode, owner=owner, group=group, extended=0, target=target)
        _write(folder / path[1:], entries[path], content)
    return Tree(name="initrd", folder=folder, entries=entries)


def _write(path: Path, entry: Entry, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if entry.is_directory:
        path.mkdir(exist_ok=True)
        return
    path.unlink(missing_ok=True)
    if entry.is_link:
        path.symlink_to(entry.target)
    else:
        path.write_bytes(content)


def _join(path: PurePosixPath) -> str:
    parts: list[str] = []
    for part in path.parts[1:]:
        if part == "..":
            del parts[-1:]
        elif part != ".":
            parts.append(part)
    return "/" + "/".join(parts)
