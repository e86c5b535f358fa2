# SPDX-License-Identifier: Apache-2.0
"""Attempts to execute what the sealed root does not hold, and what it holds for others; and the instruments.

The program that is brought along is an ELF file of one instruction that matters: it ends with a code that
nothing else ends with. Layout by the ELF-64 object file format, version 1.5.
"""

import errno
import os
import struct

from mantlet.edge.attack.escape import Attempt, Family, Outcome, error_name, refused, succeeded
from mantlet.edge.attack.escape_calls import Call
from mantlet.edge.attack.escape_files import AT_FDCWD, opened
from mantlet.edge.attack.escape_process import Argument, Captive, ChildEnd, Vector

CODE = 77
_LOADER = b"/usr/lib64/ld-linux-x86-64.so.2"
_PYTHON = b"/usr/bin/python3"
_RUNTIME = b"/usr/bin/llama-server"
_AT_EMPTY_PATH = 0x1000
_READ, _WRITE, _EXECUTE = 1, 2, 4
_SHARED, _PRIVATE, _ANONYMOUS = 1, 2, 0x20
_PAGE = 4096
_SHM_EXEC = 0o100000
# mov edi, CODE; mov eax, 231: exit_group; syscall
_INSTRUCTIONS = b"\xbf" + struct.pack("<I", CODE) + b"\xb8" + struct.pack("<I", 231) + b"\x0f\x05"
_BASE, _HEADERS = 0x40_0000, 64 + 56


def program() -> bytes:
    """Return the program: a header, one segment that is loaded, its instructions."""
    size = _HEADERS + len(_INSTRUCTIONS)
    identity = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header = struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, _PAGE)
    return identity + header + segment + _INSTRUCTIONS


def _judged(end: ChildEnd, *, code: int = CODE) -> Outcome:
    """A program that was refused leaves an error; one that ran leaves its code."""
    if end.result is not None and end.result < 0:
        return refused(end.result)
    if end.status is None:
        return succeeded("the program ran and did not end")
    if os.WIFEXITED(end.status) and os.WEXITSTATUS(end.status) == code:
        return succeeded("the program ran")
    how = os.waitstatus_to_exitcode(end.status)
    return Outcome(succeeded=False, found=f"the program was ended with {how} before it could run")


def _execute(captive: Captive, *words: bytes, code: int = CODE) -> Outcome:
    end = captive.call_in_child(Call.EXECVE, words[0] + b"\0", Vector(words), Vector(()))
    return _judged(end, code=code)


def _written(captive: Captive, descriptor: int) -> int:
    content = program()
    return captive.call(Call.WRITE, descriptor, content, len(content)).value


def _memory_file(captive: Captive) -> int:
    """Return a descriptor of a memory file that holds the program, or the negative error."""
    descriptor = captive.call(Call.MEMFD_CREATE, b"program\0", 0).value
    if descriptor >= 0:
        _written(captive, descriptor)
    return descriptor


def _execute_memory_file(captive: Captive) -> Outcome:
    descriptor = _memory_file(captive)
    if descriptor < 0:
        return refused(descriptor)
    nothing: tuple[Argument, ...] = (b"\0", Vector((b"program",)), Vector(()))
    outcome = _judged(captive.call_in_child(Call.EXECVEAT, descriptor, *nothing, _AT_EMPTY_PATH))
    captive.call(Call.CLOSE, descriptor)
    return outcome


def _map_memory_file(captive: Captive) -> Outcome:
    descriptor = _memory_file(captive)
    if descriptor < 0:
        return refused(descriptor)
    value = captive.call(Call.MMAP, 0, _PAGE, _READ | _EXECUTE, _SHARED, descriptor, 0).value
    captive.call(Call.CLOSE, descriptor)
    return refused(value) if value < 0 else succeeded("a memory file is mapped as code")


def _map_writable_code(captive: Captive) -> Outcome:
    protection = _READ | _WRITE | _EXECUTE
    value = captive.call(Call.MMAP, 0, _PAGE, protection, _PRIVATE | _ANONYMOUS, -1, 0).value
    return refused(value) if value < 0 else succeeded("memory is writable and executable")


def _make_memory_executable(captive: Captive) -> Outcome:
    address = captive.call(Call.MMAP, 0, _PAGE, _READ | _WRITE, _PRIVATE | _ANONYMOUS, -1, 0).value
    value = captive.call(Call.MPROTECT, address, _PAGE, _READ | _EXECUTE).value
    captive.call(Call.MUNMAP, address, _PAGE)
    return refused(value) if value < 0 else succeeded("written memory became executable")


def _map_new_code(captive: Captive) -> Outcome:
    value = captive.call(Call.MMAP, 0, _PAGE, _READ | _EXECUTE, _PRIVATE | _ANONYMOUS, -1, 0).value
    return refused(value) if value < 0 else succeeded("anonymous memory is executable")


def _write_through_memory_file(captive: Captive) -> Outcome:
    """Change code of the sealed root through /proc/self/mem, which minds no protection of pages."""
    library = opened(captive, _LOADER.decode(), os.O_RDONLY)
    address = captive.call(Call.MMAP, 0, _PAGE, _READ | _EXECUTE, _PRIVATE, library, 0).value
    memory = opened(captive, "/proc/self/mem", os.O_RDWR)
    if memory < 0:
        return refused(memory)
    captive.call(Call.LSEEK, memory, address, os.SEEK_SET)
    value = captive.call(Call.WRITE, memory, _INSTRUCTIONS, len(_INSTRUCTIONS)).value
    for descriptor in (library, memory):
        captive.call(Call.CLOSE, descriptor)
    captive.call(Call.MUNMAP, address, _PAGE)
    return refused(value) if value < 0 else succeeded("code was written over code of the sealed root")


def _map_shared_memory(captive: Captive) -> Outcome:
    identifier = captive.call(Call.SHMGET, 0, _PAGE, 0o1700).value
    if identifier < 0:
        return refused(identifier)
    value = captive.call(Call.SHMAT, identifier, 0, _SHM_EXEC).value
    return refused(value) if value < 0 else succeeded("shared memory is mapped as code")


def _executes_from(folder: str) -> Attempt:
    """Write the program into a folder, execute it, and take it away again."""

    def perform(captive: Captive) -> Outcome:
        path = f"{folder}/program"
        descriptor = opened(captive, path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o700)
        if descriptor < 0:
            return refused(descriptor)
        _written(captive, descriptor)
        captive.call(Call.CLOSE, descriptor)
        outcome = _execute(captive, path.encode())
        captive.call(Call.UNLINKAT, AT_FDCWD, path.encode() + b"\0", 0)
        return outcome

    return Attempt(id=f"execute from {folder}", family=Family.ESCAPE, rules=("R10",), perform=perform)


def _interpreter(captive: Captive) -> Outcome:
    return _execute(captive, _PYTHON, b"-ISc", f"raise SystemExit({CODE})".encode())


def _interpreter_by_the_loader(captive: Captive) -> Outcome:
    return _execute(captive, _LOADER, _PYTHON, b"-ISc", f"raise SystemExit({CODE})".encode())


def _programs_of_others(captive: Captive) -> Outcome:
    """Start the service manager's client, which says its version and ends."""
    return _execute(captive, b"/usr/bin/systemctl", b"--version", code=0)


def _number_of_its_own(captive: Captive) -> Outcome:
    value = captive.call(Call.GETPID).value
    return succeeded(f"process {value}") if value > 0 else refused(value)


def _library(captive: Captive) -> Outcome:
    descriptor = opened(captive, _LOADER.decode(), os.O_RDONLY)
    if descriptor < 0:
        return refused(descriptor)
    value = captive.call(Call.MMAP, 0, _PAGE, _READ | _EXECUTE, _PRIVATE, descriptor, 0).value
    captive.call(Call.CLOSE, descriptor)
    return refused(value) if value < 0 else succeeded("a file of the sealed root is mapped as code")


def _runtime(captive: Captive) -> Outcome:
    return _execute(captive, _RUNTIME, b"--version", code=0)


def _absent(captive: Captive) -> Outcome:
    """Look for what is not there: without ENOENT, errors are not what they seem."""
    value = opened(captive, "/usr/nonexistent", os.O_RDONLY)
    right = value == -errno.ENOENT
    return Outcome(succeeded=right, found=error_name(value))


INSTRUMENTS: tuple[Attempt, ...] = tuple(
    Attempt(id=id_, family=Family.INSTRUMENT, rules=(), perform=perform)
    for id_, perform in {
        "ask for its number": _number_of_its_own,
        "open what is not there": _absent,
        "map a file of the sealed root as code": _library,
        "execute the runtime's own program": _runtime,
    }.items()
)

ATTEMPTS: tuple[Attempt, ...] = (
    *(
        Attempt(id=id_, family=Family.ESCAPE, rules=rules, perform=perform)
        for id_, rules, perform in (
            ("execute a memory file", ("R10",), _execute_memory_file),
            ("map a memory file as code", ("R10",), _map_memory_file),
            ("map writable code", ("R06", "R10"), _map_writable_code),
            ("map anonymous code", ("R10",), _map_new_code),
            ("make written memory executable", ("R06", "R10"), _make_memory_executable),
            ("map shared memory as code", ("R06", "R10"), _map_shared_memory),
            ("write over code by its memory file", ("R10",), _write_through_memory_file),
            ("execute Python", ("G10",), _interpreter),
            ("execute Python by the loader", ("G10",), _interpreter_by_the_loader),
            ("execute programs of others", ("G10",), _programs_of_others),
        )
    ),
    # Paths of the guest: nothing is written there on this machine.
    *(_executes_from(folder) for folder in ("/tmp", "/var/tmp", "/dev/shm", "/run/mantlet-runtime")),  # noqa: S108
)
