# SPDX-License-Identifier: Apache-2.0
"""The code that makes a process ours, for Linux on x86-64, and the page through which it is driven.

At whatever address it runs, it maps one shared page, marks it, and then waits there: each request is one
system call with its arguments, made by the process itself, with the powers that it has. Owns the bytes and
the layout of the page; how they get into a process is `escape_process`. Instructions follow Intel's manual
(volume 2), numbers of system calls Linux, arch/x86/entry/syscalls/syscall_64.tbl.
"""

import struct
from collections.abc import Sequence
from enum import IntEnum

MARKER_SIZE = 16
PAGE_SIZE = 4096
ARGUMENTS = 6

# The page: marker, its address in the process, state, whether the request was taken, result, result of a
# child, number, arguments, data.
ADDRESS = 0x10
STATE = 0x18
TAKEN = 0x1C
RESULT = 0x20
CHILD_RESULT = 0x28
CALL = 0x30
DATA = 0x80
# A child may read its arguments while the next request is written.
CHILD_DATA = 0xD80


class State(IntEnum):
    """What the process is asked to do; it returns to READY by itself."""

    READY = 0
    CALL = 1
    # The call is made by a new process, which then ends; the result here is its number.
    CALL_IN_CHILD = 2
    # An access to address 0.
    FAULT = 3
    # The function returns -1, which stands for an error of its own.
    LEAVE = 4


_BEFORE_MARKER = bytes.fromhex(
    "f30f1efa"  # endbr64
    "53"  # push rbx
    "31ff"  # xor edi, edi
    "be00100000"  # mov esi, PAGE_SIZE
    "ba03000000"  # mov edx, PROT_READ | PROT_WRITE
    "41ba21000000"  # mov r10d, MAP_SHARED | MAP_ANONYMOUS
    "4983c8ff"  # or r8, -1
    "4531c9"  # xor r9d, r9d
    "b809000000"  # mov eax, 9: mmap
    "0f05"  # syscall
    "4889c3"  # mov rbx, rax
)
_MOV_RAX = bytes.fromhex("48b8")  # mov rax, imm64
_STORE = (
    bytes.fromhex("488903"),  # mov [rbx], rax
    bytes.fromhex("48894308"),  # mov [rbx + 8], rax
)
_AFTER_MARKER = bytes.fromhex(
    "48895b10"  # mov [rbx + ADDRESS], rbx
    # wait:
    "f390"  # pause
    "837b1801"  # cmp dword [rbx + STATE], CALL
    "743b"  # je call
    "837b1802"  # cmp dword [rbx + STATE], CALL_IN_CHILD
    "7411"  # je fork
    "837b1804"  # cmp dword [rbx + STATE], LEAVE
    "7467"  # je leave
    "837b1803"  # cmp dword [rbx + STATE], FAULT
    "75e6"  # jne wait
    "31c0"  # xor eax, eax
    "488b00"  # mov rax, [rax]
    # fork:
    "bf11000000"  # mov edi, SIGCHLD
    "31f6"  # xor esi, esi
    "b838000000"  # mov eax, 56: clone
    "0f05"  # syscall
    "85c0"  # test eax, eax
    "7517"  # jne answer
    "e81f000000"  # call one
    "48894328"  # mov [rbx + CHILD_RESULT], rax
    "31ff"  # xor edi, edi
    "b8e7000000"  # mov eax, 231: exit_group
    "0f05"  # syscall
    # call:
    "e80d000000"  # call one
    # answer:
    "48894320"  # mov [rbx + RESULT], rax
    "c7431800000000"  # mov dword [rbx + STATE], READY
    "ebab"  # jmp wait
    # one:
    "488b4330"  # mov rax, [rbx + CALL]
    "488b7b38"  # mov rdi, [rbx + CALL + 8]
    "488b7340"  # mov rsi, [rbx + CALL + 16]
    "488b5348"  # mov rdx, [rbx + CALL + 24]
    "4c8b5350"  # mov r10, [rbx + CALL + 32]
    "4c8b4358"  # mov r8, [rbx + CALL + 40]
    "4c8b4b60"  # mov r9, [rbx + CALL + 48]
    "c7431c01000000"  # mov dword [rbx + TAKEN], 1
    "0f05"  # syscall
    "c3"  # ret
    # leave:
    "c7431800000000"  # mov dword [rbx + STATE], READY
    "b8ffffffff"  # mov eax, -1
    "5b"  # pop rbx
    "c3"  # ret
)


def code(marker: bytes) -> bytes:
    """Return the instructions; the page that they map begins with the 16 bytes of `marker`."""
    if len(marker) != MARKER_SIZE:
        raise ValueError(f"a marker of {len(marker)} bytes")
    halves = marker[:8], marker[8:]
    marking = b"".join(_MOV_RAX + half + store for half, store in zip(halves, _STORE, strict=True))
    return _BEFORE_MARKER + marking + _AFTER_MARKER


def call(number: int, arguments: Sequence[int]) -> bytes:
    """Return what stands at CALL for a system call; a negative argument is in two's complement."""
    if len(arguments) > ARGUMENTS:
        raise ValueError(f"{len(arguments)} arguments")
    words = [number, *arguments, *[0] * (ARGUMENTS - len(arguments))]
    return struct.pack("<7Q", *(word & 0xFFFF_FFFF_FFFF_FFFF for word in words))
