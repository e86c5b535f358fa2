# SPDX-License-Identifier: Apache-2.0
"""What systemd would start in a tree: units with their drop-ins, links resolved, from the default target on.

Follows systemd.unit(5), *Unit File Load Path*: the first folder that has a unit wins, drop-ins are added,
a link to /dev/null masks. Folders of units elsewhere come last, so that no layout hides any. What generators
would add at boot is not in it, and nobody could tell: they are a finding of their own. What devices start
beside it is for `mantlet.audit.wanted`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from mantlet.audit.tree import INITRD, Setting, Tree

# The strongest first.
UNIT_FOLDERS: tuple[str, ...] = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
# Those of users' managers.
USER_FOLDERS: tuple[str, ...] = (
    "/etc/systemd/user",
    "/run/systemd/user",
    "/usr/local/share/systemd/user",
    "/usr/share/systemd/user",
    "/usr/local/lib/systemd/user",
    "/usr/lib/systemd/user",
)
# Where others keep units: systemd's own examples, and in /nix/store one folder a unit and one a system.
_ELSEWHERE = re.compile(r"/systemd/system$|-(system|initrd)-units$|^/nix/store/[^/]+-unit-[^/]+$")
KINDS = frozenset({"service", "socket", "target", "mount", "automount", "timer", "path", "slice", "swap"})
# Settings that make a unit start others.
_STARTING = frozenset(
    {"Wants", "Requires", "Requisite", "BindsTo", "Upholds", "Unit", "Service", "OnFailure"}
)
_FOLDERS = ("wants", "requires", "upholds")
# What the default target of each needs without saying so (systemd.service(5), *Default Dependencies*).
_IMPLIED = ("sysinit.target", "basic.target")
_DEVICE = ".device"
_TRIGGERS = (".socket", ".path", ".timer", ".automount")


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """The units of a tree: for each name the file that counts, and for each folder what lies in it.

    aliases: the other names of a unit, which are links to it.
    """

    tree: Tree
    files: Mapping[str, str]
    aliases: Mapping[str, tuple[str, ...]]
    dropped: Mapping[str, tuple[str, ...]]

    def file(self, name: str) -> str | None:
        """Return the file of a unit or of its template; None when there is none or it is masked."""
        for candidate in (name, template(name)):
            if (path := self.files.get(candidate)) is not None:
                return None if self._is_masked(path) else path
        return None

    def resolved(self, name: str) -> str | None:
        """Return a unit's own name instead of an alias; None as for `file`."""
        path = self.file(name)
        found = None if path is None else self.tree.resolve(path)
        if found is None:
            return None
        own = found.rsplit("/", 1)[1]
        # An instance is a unit of its own, whose file is the template's.
        return name if own == template(name) else own

    def settings(self, name: str) -> Iterator[Setting]:
        """Yield the settings of a unit and of its drop-ins, in the order in which systemd reads them."""
        path = self.file(name)
        if path is None:
            return
        yield from self.tree.settings(path)
        kind = name.rsplit(".", 1)[1]
        for owner in dict.fromkeys((kind, template(name), *self.aliases.get(name, ()), name)):
            for part in self.dropped.get(f"{owner}.d", ()):
                if part.endswith(".conf"):
                    yield from self.tree.settings(part)

    def present(self) -> tuple[str, ...]:
        """Return the names of all units that are there and not masked, sorted."""
        return tuple(sorted(name for name in self.files if self.file(name) is not None))

    def started(self) -> frozenset[str]:
        """Return the names of all units that a boot starts by itself, or falls back to when one fails."""
        first = "initrd.target" if self.tree.name.startswith(INITRD) else "default.target"
        return self.following(first, *_IMPLIED)

    def of_devices(self) -> Iterator[tuple[str, str]]:
        """Yield each unit that a device's unit starts, and the path that says so (systemd.device(5))."""
        for folder, paths in sorted(self.dropped.items()):
            owner, _, kind = folder.rpartition(".")
            if not owner.endswith(_DEVICE):
                continue
            for path in paths:
                if kind in _FOLDERS:
                    yield path.rsplit("/", 1)[1], path
                elif kind == "d" and path.endswith((".conf", _DEVICE)):
                    yield from ((name, path) for name in self._named(path))

    def following(self, *names: str) -> frozenset[str]:
        """Return the names of all units that are started when these are, themselves among them."""
        waiting = [*names]
        found: set[str] = set()
        while waiting:
            name = self.resolved(waiting.pop())
            if name is None or name in found:
                continue
            found.add(name)
            waiting += self._pulled(name)
        return frozenset(found)

    def _pulled(self, name: str) -> Iterator[str]:
        for setting in self.settings(name):
            if setting.name in _STARTING:
                yield from setting.value.replace("%i", instance(name)).replace("%I", instance(name)).split()
        for owner in {name, template(name), *self.aliases.get(name, ())}:
            for kind in _FOLDERS:
                yield from (path.rsplit("/", 1)[1] for path in self.dropped.get(f"{owner}.{kind}", ()))
        if name.endswith(_TRIGGERS):
            yield f"{name.rsplit('.', 1)[0]}.service"

    def _named(self, path: str) -> Iterator[str]:
        for setting in self.tree.settings(path):
            if setting.name in _STARTING:
                yield from setting.value.split()

    def _is_masked(self, path: str) -> bool:
        return self.tree.is_masked(path) or self.tree.resolve(path) is None


def template(name: str) -> str:
    """Return an instance's template: `getty@.service` of `getty@tty1.service`; other names as they are."""
    stem, _, kind = name.rpartition(".")
    return f"{stem.split('@', 1)[0]}@.{kind}" if "@" in stem else name


def instance(name: str) -> str:
    """Return what stands behind the `@` of a unit's name, or nothing."""
    return name.rpartition(".")[0].partition("@")[2]


def of(tree: Tree, folders: tuple[str, ...] = UNIT_FOLDERS) -> Units:
    """Find the units of a tree: the system's, or those of other folders."""
    files: dict[str, str] = {}
    dropped: dict[str, dict[str, str]] = {}
    places = dict.fromkeys(filter(None, map(tree.resolve, folders)))
    elsewhere = _elsewhere(tree, places) if folders == UNIT_FOLDERS else ()
    for place in (*places, *elsewhere):
        for path in tree.below(place):
            parts = path[len(place) + 1 :].split("/")
            if len(parts) == 1 and parts[0].rpartition(".")[2] in KINDS:
                files.setdefault(parts[0], path)
            elif len(parts) == 1 and parts[0].endswith(_DEVICE):
                # A device's unit is made by the device; a file of its name adds to it, as its drop-ins do.
                dropped.setdefault(f"{parts[0]}.d", {}).setdefault("", path)
            elif len(parts) == 2:
                dropped.setdefault(parts[0], {}).setdefault(parts[1], path)
    return Units(
        tree=tree,
        files=files,
        aliases=_aliases(tree, files),
        dropped={
            folder: tuple(path for _, path in sorted(held.items()) if not tree.is_masked(path))
            for folder, held in dropped.items()
        },
    )


def _elsewhere(tree: Tree, known: Iterable[str]) -> tuple[str, ...]:
    folders = {path.rsplit("/", 1)[0] for path in tree.nodes if path.rpartition(".")[2] in KINDS}
    return tuple(sorted(folder for folder in folders - set(known) if _ELSEWHERE.search(folder)))


def _aliases(tree: Tree, files: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name, path in sorted(files.items()):
        own = (tree.resolve(path) or path).rsplit("/", 1)[1]
        if own != name:
            found[own] = (*found.get(own, ()), name)
    return found
