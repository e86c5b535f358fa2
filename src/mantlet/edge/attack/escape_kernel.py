# SPDX-License-Identifier: Apache-2.0
"""Attempts at the kernel by system calls: privileges, namespaces, modules, tracing, others, the machine.

Where a call is made with arguments that cannot do harm, an error about the arguments says that the kernel
would have done it: only the errors named with each attempt are refusals.
"""

import errno
import os
import struct
from collections.abc import Callable

from mantlet.edge.attack.escape import Attempt, Family, Outcome, error_name, refused, succeeded
from mantlet.edge.attack.escape_calls import Call
from mantlet.edge.attack.escape_files import AT_FDCWD
from mantlet.edge.attack.escape_process import Argument, Captive, Room

# Not allowed, or not in this kernel.
_REFUSALS = frozenset({errno.EPERM, errno.EACCES, errno.ENOSYS})
# Linux, include/uapi/linux: sched.h, keyctl.h, bpf.h, personality.h, reboot.h, ptrace.h, capability.h.
_NEW_NAMESPACES = {"user": 0x1000_0000, "mount": 0x0002_0000, "net": 0x4000_0000, "pid": 0x2000_0000}
_KEYCTL_GET_KEYRING_ID, _USER_KEYRING = 0, -4
_BPF_MAP_CREATE = 0
_ADDR_NO_RANDOMIZE = 0x0004_0000
_REBOOT_MAGIC, _REBOOT_CAD_OFF = (0xFEE1_DEAD, 0x2812_1969), 0
_PTRACE_SEIZE = 0x4206
_CAPABILITY_VERSION_3 = 0x2008_0522
_SET_UID = 0o4755


def _calls(
    id_: str, rules: tuple[str, ...], number: Call, *arguments: Argument, also: tuple[int, ...] = ()
) -> Attempt:
    """The call must be refused. also: further errors that are refusals of this one.

    A child makes it, so that what succeeds does not change who makes the next.
    """

    def perform(captive: Captive) -> Outcome:
        value = captive.call_in_child(number, *arguments).result
        if value is None:
            return succeeded("the call did not come back")
        if -value in _REFUSALS.union(also):
            return refused(value)
        return succeeded(f"the kernel took the call: {error_name(value) if value < 0 else value}")

    return Attempt(id=id_, family=Family.ESCAPE, rules=rules, perform=perform)


def _signal_others(captive: Captive) -> Outcome:
    """Ask with signal 0 whether anybody is there to be killed."""
    value = captive.call(Call.KILL, -1, 0).value
    if value < 0:
        return refused(value)
    return succeeded("other processes take its signals")


def _new_module(captive: Captive) -> Outcome:
    """Offer a module through a descriptor that is no file of the sealed root."""
    descriptor = captive.call(Call.MEMFD_CREATE, b"module\0", 0).value
    if descriptor < 0:
        return refused(descriptor)
    captive.call(Call.WRITE, descriptor, b"\x7fELF", 4)
    value = captive.call(Call.FINIT_MODULE, descriptor, b"\0", 0).value
    captive.call(Call.CLOSE, descriptor)
    if -value in _REFUSALS:
        return refused(value)
    return succeeded(f"the kernel looked at the module: {error_name(value)}")


def _trace_a_child(captive: Captive) -> Outcome:
    """Have a child attach to the process that is its parent."""
    end = captive.call_in_child(Call.PTRACE, _PTRACE_SEIZE, captive.call(Call.GETPID).value, 0, 0)
    if end.result is None or end.result >= 0:
        return succeeded("a process of the runtime attached to another")
    return refused(end.result)


def _set_uid_file(captive: Captive) -> Outcome:
    path = b"/tmp/set-uid\0"
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
    descriptor = captive.call(Call.OPENAT, AT_FDCWD, path, flags, 0o700).value
    if descriptor < 0:
        return refused(descriptor)
    captive.call(Call.CLOSE, descriptor)
    value = captive.call(Call.FCHMODAT, AT_FDCWD, path, _SET_UID).value
    captive.call(Call.UNLINKAT, AT_FDCWD, path, 0)
    return refused(value) if value < 0 else succeeded("a file became set-user-ID")


def _steal_descriptor(captive: Captive) -> Outcome:
    """Take descriptor 0 of PID 1 through a pidfd: of the machine's, or of its own in a namespace."""
    process = captive.call(Call.PIDFD_OPEN, 1, 0).value
    if process < 0:
        return refused(process)
    value = captive.call(Call.PIDFD_GETFD, process, 0, 0).value
    captive.call(Call.CLOSE, process)
    if value < 0:
        return refused(value)
    captive.call(Call.CLOSE, value)
    return succeeded("a descriptor of PID 1 is in its hands")


def _escape(id_: str, rules: tuple[str, ...], perform: Callable[[Captive], Outcome]) -> Attempt:
    return Attempt(id=id_, family=Family.ESCAPE, rules=rules, perform=perform)


_ALL_CAPABILITIES = struct.pack("<6I", *[0xFFFF_FFFF, 0xFFFF_FFFF, 0] * 2)

ATTEMPTS: tuple[Attempt, ...] = (
    _calls("setuid(0)", ("G04", "R06"), Call.SETUID, 0),
    _calls(
        "capset", ("G04", "R06"), Call.CAPSET, struct.pack("<II", _CAPABILITY_VERSION_3, 0), _ALL_CAPABILITIES
    ),
    _escape("set-user-ID file", ("G04",), _set_uid_file),
    *(
        _calls(f"unshare {name} namespace", ("I10", "R06"), Call.UNSHARE, flag, also=(errno.ENOSPC,))
        for name, flag in _NEW_NAMESPACES.items()
    ),
    _calls("setns", ("R06",), Call.SETNS, 0, 0),
    _calls("mount", ("R06",), Call.MOUNT, b"none\0", b"/tmp\0", b"tmpfs\0", 0, 0),
    _calls("chroot", ("R06",), Call.CHROOT, b"/nonexistent\0"),
    _calls("pivot_root", ("R06",), Call.PIVOT_ROOT, b"/nonexistent\0", b"/nonexistent\0"),
    _calls("mknod of the TPM", ("M12", "R06"), Call.MKNOD, b"/tmp/tpm\0", 0o020600, 10 << 8 | 224),
    _calls("open_by_handle_at", ("R06",), Call.OPEN_BY_HANDLE_AT, -1, Room(16), 0),
    _calls("swapon", ("R06",), Call.SWAPON, b"/nonexistent\0", 0),
    _calls("acct", ("R06",), Call.ACCT, b"/nonexistent\0"),
    _calls("personality", ("R06",), Call.PERSONALITY, _ADDR_NO_RANDOMIZE),
    _calls("set the clock", ("R06",), Call.SETTIMEOFDAY, 0, Room(8)),
    _calls("set the host name", ("R06",), Call.SETHOSTNAME, b"runtime", 7),
    _calls("iopl", ("R06",), Call.IOPL, 3),
    _calls("raise the priority", ("R06",), Call.SETPRIORITY, 0, 0, -10),
    _calls("real-time scheduling", ("R06",), Call.SCHED_SETSCHEDULER, 0, 1, struct.pack("<I", 1)),
    _calls("kernel log", ("R06",), Call.SYSLOG, 10, 0, 0),
    _calls("init_module", ("I04",), Call.INIT_MODULE, b"\x7fELF", 4, b"\0"),
    _escape("finit_module", ("I04",), _new_module),
    _calls("delete_module", ("I04",), Call.DELETE_MODULE, b"nonexistent\0", 0),
    _calls("kexec_load", ("B11", "I06"), Call.KEXEC_LOAD, 0, 0, 0, 0),
    _calls("kexec_file_load", ("B11", "I06"), Call.KEXEC_FILE_LOAD, -1, -1, 0, 0, 0),
    _calls("reboot", ("B11",), Call.REBOOT, *_REBOOT_MAGIC, _REBOOT_CAD_OFF, 0),
    _calls("bpf", ("I09",), Call.BPF, _BPF_MAP_CREATE, struct.pack("<5I", 2, 4, 4, 1, 0), 20),
    _calls(
        "perf_event_open",
        ("I09",),
        Call.PERF_EVENT_OPEN,
        struct.pack("<IIQ", 1, 112, 0) + bytes(96),
        0,
        -1,
        -1,
        0,
    ),
    _calls("fanotify_init", ("R06",), Call.FANOTIFY_INIT, 0, 0),
    _calls("io_uring_setup", ("I10",), Call.IO_URING_SETUP, 4, Room(120)),
    _calls("userfaultfd", ("I10",), Call.USERFAULTFD, 0),
    _calls("add_key", ("I10",), Call.ADD_KEY, b"user\0", b"name\0", b"value", 5, _USER_KEYRING),
    _calls("keyctl", ("I10",), Call.KEYCTL, _KEYCTL_GET_KEYRING_ID, _USER_KEYRING, 1),
    _calls("request_key", ("I10",), Call.REQUEST_KEY, b"user\0", b"name\0", 0, 0),
    _calls("ptrace of PID 1", ("G11", "R03"), Call.PTRACE, _PTRACE_SEIZE, 1, 0, 0, also=(errno.ESRCH,)),
    _escape("ptrace of a process of its own", ("G11", "R03"), _trace_a_child),
    _escape("descriptor of PID 1", ("G11",), _steal_descriptor),
    _escape("signal other processes", ("G11", "R06"), _signal_others),
)
