# SPDX-License-Identifier: Apache-2.0
"""Where the files of a pack lie inside its file system, read from the erofs metadata alone.

Follows Linux, fs/erofs/erofs_fs.h, for the images that mkfs.erofs makes of a pack: blocks of 4096 bytes, one
directory, files in one run of blocks each. Anything else is refused. It does not look at the files' data.
"""

import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from mantlet_measure.errors import DecodeError, shown
from mantlet_measure.reader import Reader

Read = Callable[[int, int], bytes]
"""Read so many bytes (second) at an offset (first) of the file system."""

_WHAT = "erofs image"
_BLOCK = 4096
_BLOCK_BITS = 12
_MAGIC = 0xE0F5E1E2
_SUPERBLOCK_OFFSET = 1024
_SUPERBLOCK_SIZE = 128
# Inodes are numbered by slots of 32 bytes: a compact inode is one of them, an extended inode is two.
_SLOT = 32
_EXTENDED = 64
_PLAIN, _INLINE = 0, 2
_ENTRY = 12
# A directory's files have names of at most 255 bytes; more than this is no pack.
_DIRECTORY_LIMIT = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """A file's bytes inside the file system: `size` of them from the byte `start`."""

    name: str
    start: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Inode:
    """mode, size and layout as the inode says; start: the byte where its blocks begin; end: its own end."""

    mode: int
    size: int
    layout: int
    start: int
    end: int


def find(read: Read, *, size: int) -> tuple[Extent, ...]:
    """Return the extents of the files in the root directory, by their place; no two overlap.

    size: the file system's, in bytes. Raises DecodeError on a file system that no pack has.
    """
    metadata, root = _superblock(read)
    directory = _inode(read, metadata + root * _SLOT, size)
    if not stat.S_ISDIR(directory.mode) or directory.size > _DIRECTORY_LIMIT:
        raise DecodeError(_WHAT, expected="a root directory", found=f"mode {directory.mode:o}")
    found = []
    for number, name in _entries(_content(read, directory)):
        if name in (".", ".."):
            continue
        inode = _inode(read, metadata + number * _SLOT, size)
        if not stat.S_ISREG(inode.mode) or inode.layout != _PLAIN:
            raise DecodeError(
                f"{_WHAT}: {shown(name)}",
                expected="a file in one run of blocks",
                found=f"mode {inode.mode:o}, layout {inode.layout}",
            )
        found.append(Extent(name=name, start=inode.start, size=inode.size))
    found.sort(key=lambda extent: extent.start)
    _check_places(found, size)
    return tuple(found)


def _check_places(found: Sequence[Extent], size: int) -> None:
    limits = [*(extent.start for extent in found[1:]), size]
    for extent, limit in zip(found, limits, strict=True):
        if extent.start + extent.size > limit:
            raise DecodeError(
                f"{_WHAT}: {shown(extent.name)}",
                expected=f"an end up to byte {limit}",
                found=f"byte {extent.start + extent.size}",
            )


def _superblock(read: Read) -> tuple[int, int]:
    """Return the byte where inodes are counted from, and the number of the root's."""
    reader = Reader(read(_SUPERBLOCK_OFFSET, _SUPERBLOCK_SIZE), _WHAT)
    if (magic := reader.u32le()) != _MAGIC:
        reader.refuse(expected=f"the magic number {_MAGIC:08x}", found=f"{magic:08x}", offset=0)
    reader.take(8)
    if (bits := reader.u8()) != _BLOCK_BITS:
        reader.refuse(expected=f"blocks of {_BLOCK} bytes", found=f"2^{bits}")
    reader.take(1)
    root = reader.u16le()
    reader.take(8 + 8 + 4 + 4)
    return reader.u32le() * _BLOCK, root


def _inode(read: Read, offset: int, size: int) -> _Inode:
    if offset >= size:
        raise DecodeError(_WHAT, expected=f"an inode before byte {size}", found=f"byte {offset}")
    reader = Reader(read(offset, _EXTENDED), _WHAT)
    shape = reader.u16le()
    attributes = reader.u16le()
    mode = reader.u16le()
    reader.take(2)
    if attributes:
        reader.refuse(expected="no extended attributes", found=f"{attributes}")
    # struct erofs_inode_compact and erofs_inode_extended part at the size, and meet again behind it.
    if shape & 1:
        length, end = reader.u64le(), offset + _EXTENDED
    else:
        length, end = reader.u32le(), offset + _SLOT
        reader.take(4)
    start = reader.u32le() * _BLOCK
    return _Inode(mode=mode, size=length, layout=shape >> 1 & 7, start=start, end=end)


def _content(read: Read, directory: _Inode) -> bytes:
    """Read a directory: whole blocks, and the rest behind them or, inline, behind its inode."""
    if directory.layout == _PLAIN:
        return read(directory.start, directory.size)
    if directory.layout != _INLINE:
        raise DecodeError(_WHAT, expected="a plain directory", found=f"layout {directory.layout}")
    whole = directory.size // _BLOCK * _BLOCK
    return read(directory.start, whole) + read(directory.end, directory.size - whole)


def _entries(content: bytes) -> Iterator[tuple[int, str]]:
    """Go through a directory's blocks: entries first, then their names, each up to the next or to a zero."""
    for start in range(0, len(content), _BLOCK):
        block = content[start : start + _BLOCK]
        reader = Reader(block, f"{_WHAT}: directory")
        numbers, places = list[int](), list[int]()
        while not places or reader.offset < places[0]:
            numbers.append(reader.u64le())
            places.append(reader.u16le())
            reader.take(_ENTRY - 10)
        for number, place, end in zip(numbers, places, [*places[1:], len(block)], strict=True):
            yield number, block[place:end].split(b"\0", 1)[0].decode("ascii", "replace")
