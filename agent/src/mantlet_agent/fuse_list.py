# SPDX-License-Identifier: Apache-2.0
"""What may run and what may start, and the judgement of what does (policies/fuse.yaml).

Owns the list's decoding and the counting. A process is told by its control group and its name, and a unit may
start once: what was counted needs no look at a program that may be gone, or another, when it is looked at. It
reads /proc and writes nothing.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mantlet_agent.proc_events import Happening, ProcEvent
from mantlet_measure import strictjson
from mantlet_measure.errors import DecodeError
from mantlet_measure.strictjson import Fields
from mantlet_measure.words import FuseKind

FORMAT = "mantlet-fuse/v1"
_WHAT = "fuse list"
_GROUP = r"(/[A-Za-z0-9_.@:\\-]{1,255}){1,8}"
_NAME = r"[A-Za-z0-9._()-]{1,64}"
_LARGEST_COUNT = 16
# Linux, include/linux/sched.h
_NAME_SIZE = 15
_PF_KTHREAD = 0x00200000
# systemd starts its executor through a descriptor (src/core/execute.c), whose number is its name at first.
_STARTER = re.compile(r"[0-9]{1,3}")
_MEANING: Mapping[Happening, FuseKind] = {
    Happening.EXEC: FuseKind.PROGRAM,
    Happening.UID: FuseKind.IDENTITY,
    Happening.GID: FuseKind.IDENTITY,
    Happening.SID: FuseKind.SESSION,
    Happening.PTRACE: FuseKind.TRACE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What one control group may hold: processes by name; and how many programs may still start in it."""

    names: frozenset[str]
    starts: int


def decode(data: bytes) -> Mapping[str, Group]:
    """Decode the list as the image holds it, groups by path. DecodeError."""
    fields = Fields(strictjson.decode(data, what=_WHAT), _WHAT)
    fields.constant("format", FORMAT)
    groups: dict[str, Group] = {}
    for index, item in enumerate(fields.sequence("groups", limit=256)):
        entry = Fields(item, f"{_WHAT}: group {index}")
        path = entry.text("path", pattern=_GROUP)
        if path in groups:
            entry.refuse("path", "each group once")
        listed = entry.sequence("programs", limit=16)
        programs = Fields({str(number): name for number, name in enumerate(listed)}, entry.what)
        names = {form for name in _programs_of(programs, len(listed)) for form in _forms(name)}
        groups[path] = Group(names=frozenset(names), starts=entry.integer("starts", 0, _LARGEST_COUNT))
        entry.done()
    fields.done()
    return groups


def _programs_of(fields: Fields, count: int) -> Iterator[str]:
    """Yield the names of a list of programs. DecodeError when one is no name."""
    for number in range(count):
        yield fields.text(str(number), pattern=_NAME)


def _forms(name: str) -> tuple[str, str]:
    """Return what a process of this program is called: when it runs, and until the executor starts it."""
    return name[:_NAME_SIZE], f"({name[: _NAME_SIZE - 2]})"


class Watched:
    """The processes of a machine, against the list."""

    def __init__(self, groups: Mapping[str, Group], *, proc: Path, serving: Callable[[], bool]) -> None:
        """Take the list, where /proc is, and who knows whether the machine serves: then nothing starts."""
        self._groups = groups
        self._proc = proc
        self._serving = serving
        self._started: dict[str, int] = {}

    def present(self) -> FuseKind | None:
        """Return PRESENT if a process runs that is not on the list."""
        for folder in self._proc.iterdir():
            if not folder.name.isdecimal():
                continue
            # What is gone has no future; if it started something, there is an event for it.
            with suppress(FileNotFoundError, ProcessLookupError):
                if _is_program(folder) and not self._may_run(_group(folder), _name(folder)):
                    return FuseKind.PRESENT
        return None

    def judge(self, event: ProcEvent) -> FuseKind | None:
        """Return what the event is called if it may not be; count it if it may."""
        meaning = _MEANING[event.happening]
        if event.happening is Happening.PTRACE:
            return meaning
        folder = self._proc / str(event.process)
        try:
            path, name = _group(folder), _name(folder)
        except (FileNotFoundError, ProcessLookupError):
            # Nobody can say any more what it was.
            return meaning
        # The executor sets user, group and session of what it starts: before the last start, and not after.
        if not self._may_start(path, name) or self._serving():
            return meaning
        if event.happening is Happening.EXEC:
            self._started[path] = self._started.get(path, 0) + 1
        return None

    def _may_run(self, path: str, name: str) -> bool:
        known = self._groups.get(path)
        return known is not None and name in known.names

    def _may_start(self, path: str, name: str) -> bool:
        known = self._groups.get(path)
        return (
            known is not None
            and self._started.get(path, 0) < known.starts
            and (name in known.names or _STARTER.fullmatch(name) is not None)
        )


def _name(folder: Path) -> str:
    return (folder / "comm").read_text("utf-8", "replace").removesuffix("\n")


def _group(folder: Path) -> str:
    """The path of the control group (cgroups(7), version 2), without the instance of a template."""
    path = (folder / "cgroup").read_text("utf-8", "replace").removesuffix("\n").removeprefix("0::")
    unit, at, instance = path.rpartition("@")
    return f"{unit}@.service" if at and "/" not in instance and instance.endswith(".service") else path


def _is_program(folder: Path) -> bool:
    """Whether it is neither a thread of the kernel nor a process that has ended (proc_pid_stat(5))."""
    fields = (folder / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    if len(fields) < 7:
        raise DecodeError(folder.name, expected="the fields of proc_pid_stat(5)", found=f"{len(fields)}")
    return fields[0] not in "ZX" and not int(fields[6]) & _PF_KTHREAD
