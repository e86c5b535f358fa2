# SPDX-License-Identifier: Apache-2.0
"""Numbers of the system calls that the attempts make.

Follows Linux on x86-64, arch/x86/entry/syscalls/syscall_64.tbl.
"""

from enum import IntEnum


class Call(IntEnum):
    """One system call."""

    READ = 0
    WRITE = 1
    CLOSE = 3
    LSEEK = 8
    MMAP = 9
    MPROTECT = 10
    MUNMAP = 11
    SHMGET = 29
    SHMAT = 30
    PAUSE = 34
    GETPID = 39
    SOCKET = 41
    CONNECT = 42
    SOCKETPAIR = 53
    EXECVE = 59
    WAIT4 = 61
    KILL = 62
    PTRACE = 101
    GETUID = 102
    SYSLOG = 103
    SETUID = 105
    CAPSET = 126
    MKNOD = 133
    PERSONALITY = 135
    SETPRIORITY = 141
    SCHED_SETSCHEDULER = 144
    MODIFY_LDT = 154
    PIVOT_ROOT = 155
    CHROOT = 161
    ACCT = 163
    SETTIMEOFDAY = 164
    MOUNT = 165
    SWAPON = 167
    REBOOT = 169
    SETHOSTNAME = 170
    IOPL = 172
    INIT_MODULE = 175
    DELETE_MODULE = 176
    GETDENTS64 = 217
    KEXEC_LOAD = 246
    ADD_KEY = 248
    REQUEST_KEY = 249
    KEYCTL = 250
    OPENAT = 257
    UNLINKAT = 263
    FCHMODAT = 268
    UNSHARE = 272
    PERF_EVENT_OPEN = 298
    FANOTIFY_INIT = 300
    OPEN_BY_HANDLE_AT = 304
    SETNS = 308
    PROCESS_VM_READV = 310
    FINIT_MODULE = 313
    MEMFD_CREATE = 319
    KEXEC_FILE_LOAD = 320
    BPF = 321
    EXECVEAT = 322
    USERFAULTFD = 323
    IO_URING_SETUP = 425
    PIDFD_OPEN = 434
    PIDFD_GETFD = 438
