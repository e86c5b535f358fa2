# SPDX-License-Identifier: Apache-2.0
"""Attempts on files: devices, secrets of others, kernel settings, other processes, places to write."""

import errno
import os
import struct
from collections.abc import Callable, Iterator

from mantlet.edge.attack.escape import Attempt, Family, Outcome, error_name, refused, succeeded
from mantlet.edge.attack.escape_calls import Call
from mantlet.edge.attack.escape_process import Captive, Room

AT_FDCWD = -100
_ROOM = 3072
_DIRECTORY, _SOCKET = 4, 12
_DEPTH = 6
_REGULAR = 0o600


def opened(captive: Captive, path: str, flags: int, mode: int = 0) -> int:
    """Open a path; return a descriptor or the negative error."""
    return captive.call(Call.OPENAT, AT_FDCWD, path.encode() + b"\0", flags | os.O_CLOEXEC, mode).value


def read(captive: Captive, path: str, size: int = _ROOM) -> bytes | int:
    """Return the first bytes of a file, or the negative error."""
    descriptor = opened(captive, path, os.O_RDONLY | os.O_NONBLOCK)
    if descriptor < 0:
        return descriptor
    reply = captive.call(Call.READ, descriptor, Room(size), size)
    captive.call(Call.CLOSE, descriptor)
    return reply.rooms[0][: reply.value] if reply.value >= 0 else reply.value


def entries(captive: Captive, folder: str) -> Iterator[tuple[str, int]]:
    """Yield name and type of each entry of a folder; nothing where it cannot be listed."""
    descriptor = opened(captive, folder, os.O_RDONLY | os.O_DIRECTORY)
    if descriptor < 0:
        return
    found: list[tuple[str, int]] = []
    while (reply := captive.call(Call.GETDENTS64, descriptor, Room(_ROOM), _ROOM)).value > 0:
        at = 0
        while at < reply.value:
            # Linux, include/linux/dirent.h: inode, offset, size of the record, type, name.
            size, kind = struct.unpack_from("<HB", reply.rooms[0], at + 16)
            name = reply.rooms[0][at + 19 : at + size].split(b"\0")[0].decode("utf-8", "replace")
            found.append((name, kind))
            at += size
    captive.call(Call.CLOSE, descriptor)
    yield from ((name, kind) for name, kind in found if name not in (".", ".."))


def sockets(captive: Captive, folder: str, *, depth: int = _DEPTH) -> Iterator[str]:
    """Yield the path of every socket below a folder that the process sees."""
    for name, kind in list(entries(captive, folder)):
        path = f"{folder}/{name}"
        if kind == _SOCKET:
            yield path
        elif kind == _DIRECTORY and depth:
            yield from sockets(captive, path, depth=depth - 1)


def _opens(rules: tuple[str, ...], path: str, flags: int) -> Attempt:
    """The path must not open."""

    def perform(captive: Captive) -> Outcome:
        descriptor = opened(captive, path, flags | os.O_NONBLOCK)
        if descriptor < 0:
            return refused(descriptor)
        captive.call(Call.CLOSE, descriptor)
        return succeeded(f"{path} is open")

    verb = "write" if flags & (os.O_WRONLY | os.O_RDWR) else "read"
    return Attempt(id=f"{verb} {path}", family=Family.ESCAPE, rules=rules, perform=perform)


def _creates(rules: tuple[str, ...], folder: str) -> Attempt:
    """No file must be made in the folder."""

    def perform(captive: Captive) -> Outcome:
        path = f"{folder}/made-by-the-runtime"
        descriptor = opened(captive, path, os.O_WRONLY | os.O_CREAT, _REGULAR)
        if descriptor < 0:
            return refused(descriptor)
        captive.call(Call.CLOSE, descriptor)
        captive.call(Call.UNLINKAT, AT_FDCWD, path.encode() + b"\0", 0)
        return succeeded(f"a file was made in {folder}")

    return Attempt(id=f"create in {folder}", family=Family.ESCAPE, rules=rules, perform=perform)


def _other_processes(captive: Captive) -> list[int]:
    """List the processes that it sees, but for itself and its children, which may have ended unawaited."""
    own = captive.call(Call.GETPID).value
    seen = [int(name) for name, _ in entries(captive, "/proc") if name.isdigit() and int(name) != own]
    return sorted(process for process in seen if _parent(captive, process) != own)


def _parent(captive: Captive, process: int) -> int | None:
    """Return the parent of a process: the field after its state, in proc_pid_stat(5)."""
    content = read(captive, f"/proc/{process}/stat")
    return None if isinstance(content, int) else int(content.rpartition(b")")[2].split()[1])


def _see_processes(captive: Captive) -> Outcome:
    others = _other_processes(captive)
    if others:
        return succeeded(f"{len(others)} other processes are listed in /proc")
    return Outcome(succeeded=False, found="none but itself is listed in /proc")


def _read_memory_of_others(captive: Captive) -> Outcome:
    """Read another's memory at address 0, where nothing is: EFAULT would say that it was allowed."""
    found = "no other process is there"
    for process in _other_processes(captive) or [1]:
        if process == captive.call(Call.GETPID).value:
            continue
        vector = struct.pack("<QQ", 0, 8)
        value = captive.call(Call.PROCESS_VM_READV, process, vector, 1, vector, 1, 0).value
        found = error_name(value)
        if value >= 0 or value == -errno.EFAULT:
            return succeeded(f"the memory of process {process} is within reach")
    return Outcome(succeeded=False, found=found)


def _read_environment_of_others(captive: Captive) -> Outcome:
    for process in _other_processes(captive):
        content = read(captive, f"/proc/{process}/environ")
        if isinstance(content, bytes) and content:
            return succeeded(f"{len(content)} bytes of the environment of process {process}")
    return Outcome(succeeded=False, found="none was readable")


def _kernel_addresses(captive: Captive) -> Outcome:
    content = read(captive, "/proc/kallsyms")
    if isinstance(content, int):
        return refused(content)
    first = content.split(b" ")[0]
    if first.strip(b"0"):
        return succeeded("kernel addresses are shown")
    return Outcome(succeeded=False, found="addresses are zeros")


def _special(id_: str, rules: tuple[str, ...], perform: Callable[[Captive], Outcome]) -> Attempt:
    return Attempt(id=id_, family=Family.ESCAPE, rules=rules, perform=perform)


_READ, _BOTH, _WRITE = os.O_RDONLY, os.O_RDWR, os.O_WRONLY

ATTEMPTS: tuple[Attempt, ...] = (
    *(_opens(("M12", "R06"), path, _BOTH) for path in ("/dev/tpmrm0", "/dev/tpm0")),
    _opens(("R06",), "/dev/mem", _READ),
    _opens(("R06",), "/dev/port", _READ),
    _opens(("R06",), "/dev/mapper/control", _BOTH),
    *(_opens(("R06",), f"/dev/{name}", _READ) for name in ("vda", "vdb", "vdc", "dm-0", "dm-1", "dm-2")),
    *(_opens(("R06",), f"/dev/{name}", _WRITE) for name in ("ttyS0", "console", "kmsg", "hvc0")),
    *(_opens(("R06",), f"/dev/{name}", _BOTH) for name in ("fuse", "net/tun", "vsock", "nvram", "snapshot")),
    _opens(("I10",), "/dev/userfaultfd", _BOTH),
    _opens(("R06",), "/proc/kcore", _READ),
    _opens(("R06",), "/proc/kmsg", _READ),
    _opens(("I09",), "/sys/kernel/tracing/trace", _READ),
    _opens(("I09",), "/sys/kernel/debug/sched/debug", _READ),
    _opens(("R06",), "/sys/kernel/security/lockdown", _READ),
    _opens(("R06",), "/sys/kernel/security/tpm0/binary_bios_measurements", _READ),
    _opens(("R06",), "/sys/firmware/efi/efivars", _READ),
    _opens(("R06",), "/sys/fs/cgroup/cgroup.procs", _WRITE),
    _opens(("I08", "R06"), "/proc/sys/kernel/core_pattern", _WRITE),
    _opens(("I06", "R06"), "/proc/sysrq-trigger", _WRITE),
    _opens(("I04", "R06"), "/proc/sys/kernel/modprobe", _WRITE),
    _opens(("R06",), "/proc/sys/kernel/yama/ptrace_scope", _WRITE),
    _opens(("R06",), "/run/mantlet/private/tls.key", _READ),
    _opens(("R06",), "/run/credentials/mantlet-front.service/tls.key", _READ),
    _opens(("R06",), "/run/mantlet-inbox", _READ),
    _opens(("R06",), "/run/mantlet-front", _READ),
    _opens(("R06",), "/run/mantlet-serve", _READ),
    _opens(("R06",), "/run/mantlet/public/stages.json", _READ),
    _opens(("R06",), "/run/log/systemd/tpm2-measure.log", _READ),
    _opens(("R06",), "/run/log/journal", _READ),
    _opens(("R06",), "/run/systemd", _READ),
    _opens(("R06",), "/run/udev/data", _READ),
    *(_creates(("R06",), folder) for folder in ("/", "/etc", "/usr/lib", "/var/lib", "/root", "/dev")),
    *(_creates(("R06",), folder) for folder in ("/run", "/run/mantlet", "/run/systemd/system")),
    _creates(("R06",), "/run/mantlet/weights"),
    _special("see other processes", ("G11",), _see_processes),
    _special("read the memory of other processes", ("G11", "R04"), _read_memory_of_others),
    _special("read the environment of other processes", ("G11", "R04"), _read_environment_of_others),
    _special("read kernel addresses", ("I09",), _kernel_addresses),
)
