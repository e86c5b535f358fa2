# SPDX-License-Identifier: Apache-2.0
"""A UKI made the way systemd-stub(7) of systemd 252 tells: sections appended to the stub, and nothing else.

ukify of a later systemd lets the section .sbat of so old a stub grow over the next one in memory. Offsets are
those of the PE/COFF specification, *COFF File Header* and *Optional Header*.
"""

from collections.abc import Mapping
from struct import pack, pack_into, unpack_from

# IMAGE_SCN_CNT_INITIALIZED_DATA | IMAGE_SCN_MEM_READ
_CHARACTERISTICS = 0x40000040
_HEADER = 40
_NAME = 8


def append(stub: bytes, sections: Mapping[str, bytes]) -> bytes:
    """Return the stub with `sections` behind its own; its symbol table, which nobody loads, is dropped."""
    coff = _u32(stub, 0x3C) + 4
    count, optional_size = _u16(stub, coff + 2), _u16(stub, coff + 16)
    optional = coff + 20
    section_alignment, file_alignment = _u32(stub, optional + 32), _u32(stub, optional + 36)
    table = optional + optional_size
    ends = [_ends(stub, table + _HEADER * index) for index in range(count)]
    memory, end = max(one for one, _ in ends), max(other for _, other in ends)
    image = bytearray(stub[:end])
    room = (_u32(stub, optional + 60) - table) // _HEADER - count
    assert len(sections) <= room, f"the stub has room for {room} section headers"
    for name, content in sections.items():
        memory = _up(memory, max(section_alignment, 0x1000))
        padded = content.ljust(_up(len(content), file_alignment), b"\0")
        fields = (len(content), memory, len(padded), len(image), 0, 0, 0, 0, _CHARACTERISTICS)
        header = name.encode("ascii").ljust(_NAME, b"\0") + pack("<IIIIIIHHI", *fields)
        image[table + _HEADER * count : table + _HEADER * (count + 1)] = header
        image += padded
        memory, count = memory + len(content), count + 1
    pack_into("<H", image, coff + 2, count)
    # PointerToSymbolTable, NumberOfSymbols
    pack_into("<II", image, coff + 8, 0, 0)
    # SizeOfImage
    pack_into("<I", image, optional + 56, _up(memory, max(section_alignment, 0x1000)))
    return bytes(image)


def _ends(image: bytes, header: int) -> tuple[int, int]:
    """Where a section ends in memory and in the file."""
    virtual_size, address, raw_size, raw_offset = unpack_from("<IIII", image, header + _NAME)
    return address + virtual_size, raw_offset + raw_size


def _up(value: int, alignment: int) -> int:
    return -(-value // alignment) * alignment


def _u16(data: bytes, offset: int) -> int:
    return int(unpack_from("<H", data, offset)[0])


def _u32(data: bytes, offset: int) -> int:
    return int(unpack_from("<I", data, offset)[0])
