# SPDX-License-Identifier: Apache-2.0
"""Where in a shared library a function lies, by its exported name: as an offset in the file.

Follows the ELF-64 object file format (version 1.5), and reads of it the program headers, the dynamic section
and the symbol table that it names. Libraries come from an image that is ours; what does not fit is refused.
"""

import struct
from dataclasses import dataclass

from mantlet_measure.errors import DecodeError

_WHAT = "shared library"
_MAGIC = b"\x7fELF\x02\x01"
_PHOFF, _PHENTSIZE_PHNUM = 0x20, 0x36
_LOAD, _DYNAMIC, _EXECUTABLE = 1, 2, 1
_DT_STRTAB, _DT_SYMTAB = 5, 6
_FUNCTION = 2


@dataclass(frozen=True, slots=True)
class _Segment:
    """One program header: its type, whether it is executable, where it lies in the file and in memory."""

    kind: int
    flags: int
    offset: int
    address: int
    size: int


def function_offset(library: bytes, name: str) -> int | None:
    """Return where the function lies in the file, or None when it exports none of that name."""
    segments = _segments(library)
    dynamic = next((segment for segment in segments if segment.kind == _DYNAMIC), None)
    if dynamic is None:
        raise DecodeError(_WHAT, expected="a dynamic section", found="none")
    entries = library[dynamic.offset : dynamic.offset + dynamic.size // 16 * 16]
    tags = dict(struct.iter_unpack("<QQ", entries))
    symbols, strings = (_file_offset(segments, tags.get(tag, 0)) for tag in (_DT_SYMTAB, _DT_STRTAB))
    # The linkers of GNU and LLVM put the strings after the symbols; nothing else says how many there are.
    for at in range(symbols, strings - 23, 24):
        word, info, _, section, value, _ = struct.unpack_from("<IBBHQQ", library, at)
        if section == 0 or info & 0xF != _FUNCTION:
            continue
        start = strings + word
        if library[start : start + len(name) + 1] == name.encode() + b"\0":
            return _file_offset([each for each in segments if each.flags & _EXECUTABLE], value)
    return None


def _segments(library: bytes) -> list[_Segment]:
    if library[: len(_MAGIC)] != _MAGIC:
        raise DecodeError(_WHAT, expected="a 64-bit little-endian ELF file", found=library[:8].hex())
    try:
        (table,) = struct.unpack_from("<Q", library, _PHOFF)
        size, count = struct.unpack_from("<HH", library, _PHENTSIZE_PHNUM)
        headers = [struct.unpack_from("<IIQQQQ", library, table + size * number) for number in range(count)]
    except struct.error:
        raise DecodeError(_WHAT, expected="program headers", found="the end of the file") from None
    return [
        _Segment(kind, flags, offset, address, in_file)
        for kind, flags, offset, address, _, in_file in headers
    ]


def _file_offset(segments: list[_Segment], address: int) -> int:
    for segment in segments:
        if segment.kind == _LOAD and segment.address <= address < segment.address + segment.size:
            return segment.offset + address - segment.address
    raise DecodeError(_WHAT, expected="addresses inside its segments", found=hex(address))
