# SPDX-License-Identifier: Apache-2.0
"""A strict reader of PE32+ images (Microsoft PE/COFF specification, as EDK2's loader reads them).

Owns the layout of one EFI application for x86-64, and refuses every layout on which implementations of the
Authenticode hash disagree: gaps and overlaps of sections, trailing bytes, a size that is no multiple of 8.
The kernel inside a UKI is only ever hashed by firmware, so `Layout.FIRMWARE` takes the gaps and trailing
bytes on which other programs stumble. It hashes nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NoReturn

from mantlet_measure.errors import DecodeError, shown
from mantlet_measure.pcr import Bank

LIMIT = 512 << 20
_SECTIONS = 96
_MACHINE_X64 = 0x8664
_PE32_PLUS = 0x20B
_EFI_APPLICATION = 10
_DIRECTORIES = 16
_ZEROS = memoryview(bytes(1 << 20))


class Layout(StrEnum):
    """Which layouts are taken."""

    UNDISPUTED = "undisputed"
    """Those that every program hashes alike."""
    FIRMWARE = "firmware"
    """Those that firmware hashes in one known way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One section header; offsets and sizes in bytes."""

    name: str
    virtual_size: int
    virtual_address: int
    raw_size: int
    raw_offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A well-formed image. `directory` is where the directory entry of the certificate table lies, if any.

    `hashes` keeps the Authenticode hashes that were asked for: one image is measured into one register and
    looked up in two databases, and is hashed once for each bank.
    """

    data: memoryview
    what: str
    checksum: int
    directory: int | None
    headers: int
    certificates: memoryview
    sections: tuple[Section, ...]
    hashes: dict[Bank, bytes] = field(default_factory=dict, init=False, compare=False, repr=False)

    @property
    def major_image_version(self) -> int:
        """MajorImageVersion, which Linux sets to the version of its EFI stub."""
        start = self.checksum - 20
        return int.from_bytes(self.data[start : start + 2], "little")

    def section(self, name: str) -> Section | None:
        """Return the one section of this name. DecodeError when there are several."""
        found = [section for section in self.sections if section.name == name]
        if len(found) > 1:
            raise DecodeError(self.what, expected=f"one section {name}", found=str(len(found)))
        return found[0] if found else None

    def loaded(self, section: Section) -> Iterator[memoryview]:
        """Yield the section as it lies in memory: `virtual_size` bytes, file content first, then zeros."""
        present = min(section.raw_size, section.virtual_size)
        yield self.data[section.raw_offset : section.raw_offset + present]
        for start in range(present, section.virtual_size, len(_ZEROS)):
            yield _ZEROS[: section.virtual_size - start]

    def content(self, section: Section) -> bytes:
        """Return the same as one byte string: for small sections."""
        return b"".join(self.loaded(section))


class _Headers:
    """Integers at offsets of one image; the only error is a DecodeError that says where."""

    def __init__(self, data: memoryview, what: str) -> None:
        self.data = data
        self.what = what

    def refuse(self, offset: int, *, expected: str, found: str) -> NoReturn:
        raise DecodeError(
            self.what,
            expected=expected,
            found=found,
            offset=offset,
            hint="build the image again: it is not usable",
        )

    def integer(self, offset: int, size: int) -> int:
        if offset + size > len(self.data):
            self.refuse(len(self.data), expected=f"{size} bytes at {offset}", found="the end")
        return int.from_bytes(self.data[offset : offset + size], "little")

    def require(self, offset: int, size: int, value: int, name: str) -> None:
        found = self.integer(offset, size)
        if found != value:
            self.refuse(offset, expected=f"{name} 0x{value:x}", found=f"0x{found:x}")


def decode(data: bytes | memoryview, *, what: str = "UKI", taken: Layout = Layout.UNDISPUTED) -> Image:
    """Decode a PE32+ EFI application for x86-64. DecodeError, with the offset, on anything else."""
    layout = _Headers(memoryview(data), what)
    undisputed = taken is Layout.UNDISPUTED
    if len(layout.data) > LIMIT:
        layout.refuse(LIMIT, expected=f"at most {LIMIT} bytes", found=str(len(layout.data)))
    # Signers pad an unsigned image to 8 bytes before they hash it; EDK2 does not.
    if undisputed and len(layout.data) % 8:
        layout.refuse(
            len(layout.data), expected="a size that is a multiple of 8", found=str(len(layout.data))
        )
    layout.require(0, 2, 0x5A4D, "DOS magic")
    coff = layout.integer(0x3C, 4)
    layout.require(coff, 4, 0x4550, "PE signature")
    layout.require(coff + 4, 2, _MACHINE_X64, "machine x86-64")
    count = layout.integer(coff + 6, 2)
    optional_size = layout.integer(coff + 20, 2)
    optional = coff + 24
    layout.require(optional, 2, _PE32_PLUS, "optional header magic PE32+")
    layout.require(optional + 68, 2, _EFI_APPLICATION, "subsystem EFI application")
    image_size = layout.integer(optional + 56, 4)
    headers = layout.integer(optional + 60, 4)
    directories = layout.integer(optional + 108, 4)
    table = optional + optional_size
    if directories > _DIRECTORIES or optional_size < 112 + 8 * directories:
        layout.refuse(
            optional + 108, expected="at most 16 directories, inside the header", found=str(directories)
        )
    if not 0 < count <= _SECTIONS or not table + 40 * count <= headers <= len(layout.data):
        layout.refuse(
            optional + 60, expected="headers that hold 1 to 96 section headers", found=f"{headers} bytes"
        )
    if image_size > LIMIT:
        layout.refuse(optional + 56, expected=f"an image of at most {LIMIT} bytes", found=str(image_size))
    sections = tuple(_section(layout, table + 40 * index, image_size) for index in range(count))
    end = _check_order(layout, headers, sections, gaps=not undisputed)
    directory = optional + 112 + 8 * 4 if directories > 4 else None
    return Image(
        data=layout.data,
        what=what,
        checksum=optional + 64,
        directory=directory,
        headers=headers,
        certificates=_certificates(layout, directory, end, trailing=not undisputed),
        sections=sections,
    )


def _section(layout: _Headers, offset: int, image_size: int) -> Section:
    raw_name = bytes(layout.data[offset : offset + 8]).rstrip(b"\0")
    if not raw_name.isascii() or b"\0" in raw_name:
        layout.refuse(offset, expected="an ASCII section name", found=shown(raw_name))
    section = Section(
        name=raw_name.decode("ascii"),
        virtual_size=layout.integer(offset + 8, 4),
        virtual_address=layout.integer(offset + 12, 4),
        raw_size=layout.integer(offset + 16, 4),
        raw_offset=layout.integer(offset + 20, 4),
    )
    if section.virtual_address + section.virtual_size > image_size:
        layout.refuse(
            offset + 8, expected=f"section {section.name} inside the image", found="it ends outside"
        )
    return section


def _check_order(layout: _Headers, headers: int, sections: tuple[Section, ...], *, gaps: bool) -> int:
    """Refuse overlaps, and gaps in the file unless `gaps`; return where the sections end in the file."""
    end = headers
    for section in sorted((item for item in sections if item.raw_size), key=lambda item: item.raw_offset):
        if section.raw_offset < end or (section.raw_offset > end and not gaps):
            layout.refuse(
                end,
                expected=f"section {section.name} right behind what precedes it",
                found=f"it starts at {section.raw_offset}",
            )
        end = section.raw_offset + section.raw_size
    if end > len(layout.data):
        layout.refuse(len(layout.data), expected=f"sections until {end}", found="the end")
    top = 0
    for section in sorted(sections, key=lambda item: item.virtual_address):
        if section.virtual_address < top:
            layout.refuse(
                section.raw_offset, expected=f"section {section.name} above 0x{top:x}", found="an overlap"
            )
        top = section.virtual_address + section.virtual_size
    return end


def _certificates(layout: _Headers, directory: int | None, end: int, *, trailing: bool) -> memoryview:
    """Return the certificate table, which is all that may follow the sections (PE/COFF, *Attribute
    Certificate Table*) unless there may be `trailing` bytes.
    """
    start, size = (
        (0, 0) if directory is None else (layout.integer(directory, 4), layout.integer(directory + 4, 4))
    )
    if trailing and end <= start and start + size == len(layout.data):
        return layout.data[start:]
    if trailing and not size:
        return layout.data[len(layout.data) :]
    if size == 0 and end != len(layout.data):
        layout.refuse(end, expected="the end", found=f"{len(layout.data) - end} trailing bytes")
    if size and (start != end or start + size != len(layout.data)):
        layout.refuse(
            directory or 0,
            expected=f"certificates from {end} to the end at {len(layout.data)}",
            found=f"{size} bytes at {start}",
        )
    return layout.data[end:]
