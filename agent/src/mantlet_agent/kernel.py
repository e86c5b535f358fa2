# SPDX-License-Identifier: Apache-2.0
"""System calls that Python does not have: mount, umount2, add_key, keyctl; and the wiping of memory.

Owns their numbers and their argument types. What to mount and which key to add is decided elsewhere.
"""

import ctypes
import os
from pathlib import Path

# include/uapi/linux/mount.h
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT = 1, 2, 4, 8, 32
_MNT_DETACH = 2
# arch/x86/entry/syscalls/syscall_64.tbl
_SYS_ADD_KEY, _SYS_KEYCTL = 248, 250
# include/uapi/linux/keyctl.h
_KEY_SPEC_SESSION_KEYRING = -3
_KEYCTL_REVOKE, _KEYCTL_UNLINK = 3, 9

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def mount_read_only(device: Path, target: Path, filesystem: str) -> None:
    """Mount `device` at `target`, ro,nosuid,nodev,noexec. OSError."""
    flags = _MS_RDONLY | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    arguments = (os.fsencode(device), os.fsencode(target), filesystem.encode("ascii"))
    _checked(_libc.mount(*arguments, ctypes.c_ulong(flags), None), f"mount {filesystem}")


def mount_memory(target: Path, *, size: int) -> None:
    """Mount an empty tmpfs of huge pages at `target`, at most `size` bytes, nosuid,nodev,noexec. OSError."""
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    # Documentation/filesystems/tmpfs.rst. Small pages would cost four times the time of the decryption.
    options = f"huge=always,size={size},mode=0755".encode("ascii")
    arguments = (b"tmpfs", os.fsencode(target), b"tmpfs")
    _checked(_libc.mount(*arguments, ctypes.c_ulong(flags), options), "mount tmpfs")


def forbid_writing(target: Path) -> None:
    """Make the tmpfs at `target` read-only, for all. OSError while a file is open for writing."""
    flags = _MS_REMOUNT | _MS_RDONLY | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    _checked(_libc.mount(b"tmpfs", os.fsencode(target), b"tmpfs", ctypes.c_ulong(flags), None), "remount")


def unmount(target: Path) -> None:
    """Detach what is mounted at `target`. OSError."""
    _checked(_libc.umount2(os.fsencode(target), _MNT_DETACH), "umount")


def add_logon_key(description: str, payload: bytearray) -> int:
    """Put a key that only the kernel can use into the session keyring; return its serial. OSError.

    The kernel copies the payload out of its own buffer; the caller wipes that.
    """
    result = _libc.syscall(
        ctypes.c_long(_SYS_ADD_KEY),
        b"logon",
        description.encode("ascii"),
        (ctypes.c_char * len(payload)).from_buffer(payload),
        ctypes.c_size_t(len(payload)),
        ctypes.c_int(_KEY_SPEC_SESSION_KEYRING),
    )
    return int(_checked(result, "add_key"))


def drop_key(serial: int) -> None:
    """Revoke a key and take it out of the session keyring. OSError."""
    for arguments in ((_KEYCTL_REVOKE, serial, 0), (_KEYCTL_UNLINK, serial, _KEY_SPEC_SESSION_KEYRING)):
        operation, key, keyring = (ctypes.c_long(argument) for argument in arguments)
        _checked(_libc.syscall(ctypes.c_long(_SYS_KEYCTL), operation, key, keyring), "keyctl")


def wipe(secret: bytearray) -> None:
    """Overwrite `secret` with zeros in place."""
    if secret:
        ctypes.memset((ctypes.c_char * len(secret)).from_buffer(secret), 0, len(secret))
