# SPDX-License-Identifier: Apache-2.0
"""A file system to look at: what each path is, where links lead, and a bounded piece of a file's content.

Owns the types alone. Where the bytes come from is the caller's: contents are functions, so that an image of
any size is looked at in little memory. Owners are not in it: no check needs them, and who unpacks without
root could not tell.
"""

import stat
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

ROOT, INITRD = "root", "initrd"
TEXT_LIMIT = 1 << 20
# Where systemd and its kin are configured; what stands later wins.
FOLDERS: tuple[str, ...] = ("/lib", "/usr/lib", "/usr/local/lib", "/run", "/etc")
# Linux, include/linux/namei.h: MAXSYMLINKS
_LINKS = 40


class Nothing:
    """The content of what has none."""

    def __call__(self, limit: int) -> bytes:
        """Return no bytes."""
        return b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One path: its mode with the type bits, its size in bytes, a link's target, extended attributes.

    content: returns at most so many first bytes of a regular file.
    """

    mode: int
    size: int = 0
    target: str = ""
    attributes: Mapping[str, bytes] = field(default_factory=dict)
    content: Callable[[int], bytes] = field(default_factory=Nothing)

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

    @property
    def is_program(self) -> bool:
        """Whether it is a regular file that somebody may execute."""
        return self.is_file and bool(self.mode & 0o111)


class Setting(NamedTuple):
    """One line `name=value` of a unit or configuration file, and the section it stands in."""

    section: str
    name: str
    value: str


@dataclass(frozen=True, kw_only=True)
class Tree:
    """A file system; its paths start with a slash and have neither `.` nor `..`. name: `root` or `initrd`.

    has_attributes: whether extended attributes were read, so that a file without any has none.
    """

    name: str
    nodes: Mapping[str, Node]
    has_attributes: bool = True

    @cached_property
    def by_name(self) -> Mapping[str, tuple[str, ...]]:
        """The paths of everything but directories, by their last part."""
        found: dict[str, list[str]] = {}
        for path, node in self.nodes.items():
            if not node.is_directory:
                found.setdefault(path.rsplit("/", 1)[1], []).append(path)
        return {name: tuple(sorted(paths)) for name, paths in found.items()}

    def subject(self, path: str) -> str:
        """Name a path for a finding: the tree first, since root and initrd have the same paths."""
        return f"{self.name}:{path}"

    def below(self, *folders: str) -> tuple[str, ...]:
        """Return the files and links anywhere below these folders, once each and sorted."""
        found: set[str] = set()
        for folder in folders:
            prefix = f"{folder.rstrip('/')}/"
            start = bisect_left(self._paths, prefix)
            # Of all that starts with the prefix, `0` is what comes next: it follows `/` in ASCII.
            found.update(self._paths[start : bisect_left(self._paths, f"{prefix[:-1]}0", start)])
        return tuple(sorted(found))

    @cached_property
    def _paths(self) -> tuple[str, ...]:
        return tuple(sorted(path for path, node in self.nodes.items() if not node.is_directory))

    def resolve(self, path: str) -> str | None:
        """Follow symbolic links as the machine would; None when they lead nowhere or in a circle."""
        links = 0
        waiting = _parts(path)[::-1]
        here: list[str] = []
        while waiting:
            part = waiting.pop()
            if part == "..":
                del here[-1:]
                continue
            here.append(part)
            node = self.nodes.get("/" + "/".join(here))
            if node is None or not node.is_link:
                continue
            links += 1
            if links > _LINKS:
                return None
            del here[0 if node.target.startswith("/") else -1 :]
            waiting += _parts(node.target)[::-1]
        found = "/" + "/".join(here)
        return found if not here or found in self.nodes else None

    def node(self, path: str) -> Node | None:
        """Return what is at a path, links followed; None when nothing is."""
        found = self.resolve(path)
        return None if found is None else self.nodes.get(found)

    def text(self, path: str) -> str:
        """Return the first MiB of the text at a path, links followed; nothing when there is no file."""
        node = self.node(path)
        return "" if node is None else node.content(TEXT_LIMIT).decode("utf-8", "replace")

    def settings(self, path: str) -> Iterator[Setting]:
        """Yield the settings of a file in systemd's syntax (systemd.syntax(7)), continued lines joined."""
        section = ""
        for line in self.text(path).replace("\\\n", " ").splitlines():
            words = line.strip()
            if words.startswith("[") and words.endswith("]"):
                section = words[1:-1]
            elif words and words[0] not in "#;" and "=" in words:
                name, value = words.split("=", 1)
                yield Setting(section, name.strip(), value.strip())

    def drop_ins(self, folder: str, suffix: str) -> tuple[str, ...]:
        """Return the files of a folder such as `sysctl.d` in the order in which the later ones win.

        systemd.unit(5) and sysctl.d(5): by name whatever the folder; of one name the one in /etc alone; a
        link to /dev/null hides it.
        """
        found: dict[str, str] = {}
        for base in FOLDERS:
            place = self.resolve(f"{base}/{folder}")
            for path in () if place is None else self.children(place):
                if path.endswith(suffix):
                    found[path.rsplit("/", 1)[1]] = path
        return tuple(found[name] for name in sorted(found) if not self.is_masked(found[name]))

    def children(self, folder: str) -> tuple[str, ...]:
        """Return the files and links right in a folder, sorted."""
        return tuple(path for path in self.below(folder) if "/" not in path[len(folder.rstrip("/")) + 1 :])

    def is_masked(self, path: str) -> bool:
        """Whether a path is a link to /dev/null, or an empty file, which systemd takes for the same."""
        node = self.nodes.get(path)
        if node is None:
            return False
        return node.target == "/dev/null" if node.is_link else node.is_file and not node.size


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]
