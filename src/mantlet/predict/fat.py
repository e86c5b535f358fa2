# SPDX-License-Identifier: Apache-2.0
"""A strict, read-only reader of FAT12, FAT16 and FAT32 (Microsoft, *FAT General Overview* 1.03).

Owns the boot sector, the allocation table and the walk through directories. A file whose clusters are
contiguous is a slice of the volume, without a copy. It writes nothing, and bounds every loop by the size of
the volume. (The FAT packages on PyPI are unmaintained, or wrap C code that wants a writable device.)
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from mantlet.predict.fat_directory import DIRECTORY, Entry, records
from mantlet_measure.errors import DecodeError, shown

WHAT = "EFI system partition"
_DIRECTORY_LIMIT = 2 << 20
# Entries of the allocation table that are compared at once.
_STRIDE = 4096
# FAT overview: the count of clusters alone decides the type.
_FAT16_CLUSTERS, _FAT32_CLUSTERS = 4085, 65525
_END = {12: 0xFF8, 16: 0xFFF8, 32: 0x0FFFFFF8}
_HINT = "make the file system again, for example with mkfs.vfat"


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A file system; offsets and sizes in bytes, `root` is a cluster, or 0 for the fixed root of FAT12/16."""

    data: memoryview
    bits: int
    cluster_size: int
    clusters: int
    table: memoryview
    heap: int
    root: int
    fixed_root: memoryview

    def entries(self, path: str) -> tuple[Entry, ...]:
        """Return what the directory `path` (`/` or `\\` between names) holds; nothing when there is none."""
        found = self.find(path)
        if found is None or not found.is_directory:
            return ()
        return tuple(records(self._directory(found.cluster), what=f"{WHAT}: {path}"))

    def find(self, path: str) -> Entry | None:
        """Return the entry at `path`, whatever its case; None when there is none."""
        here = Entry(name="", attributes=DIRECTORY, cluster=self.root, size=0)
        for name in path.replace("\\", "/").strip("/").split("/"):
            if not name:
                continue
            if not here.is_directory:
                return None
            inside = records(self._directory(here.cluster), what=f"{WHAT}: {path}")
            match = next((entry for entry in inside if entry.name.casefold() == name.casefold()), None)
            if match is None:
                return None
            here = match
        return here

    def read(self, entry: Entry, *, limit: int) -> memoryview:
        """Return the content of a file of at most `limit` bytes; a slice, where it is contiguous."""
        if entry.is_directory:
            _refuse(f"a file {entry.name}", "a directory")
        if entry.size > limit:
            _refuse(f"{shown(entry.name)} of at most {limit} bytes", str(entry.size))
        if not entry.size:
            return self.data[:0]
        needed = -(-entry.size // self.cluster_size)
        parts = list(self._runs(entry.cluster, needed))
        if sum(len(part) for part in parts) < entry.size:
            _refuse(f"{needed} clusters of {shown(entry.name)}", "the end of its chain before")
        whole = parts[0] if len(parts) == 1 else memoryview(b"".join(parts))
        return whole[: entry.size]

    def _directory(self, cluster: int) -> memoryview:
        if not cluster:
            # A `..` entry names the root as cluster 0, on FAT32 too.
            if not self.root:
                return self.fixed_root
            cluster = self.root
        parts = list(self._runs(cluster, _DIRECTORY_LIMIT // self.cluster_size + 1))
        if sum(len(part) for part in parts) > _DIRECTORY_LIMIT:
            _refuse(f"a directory of at most {_DIRECTORY_LIMIT} bytes", "more")
        return parts[0] if len(parts) == 1 else memoryview(b"".join(parts))

    def _runs(self, cluster: int, most: int) -> Iterator[memoryview]:
        """Yield at most `most` clusters of a chain, neighbours joined. A chain that circles is refused."""
        taken = 0
        while taken < most and cluster < _END[self.bits]:
            if not 2 <= cluster < self.clusters + 2:
                _refuse(f"a cluster from 2 to {self.clusters + 1}", str(cluster))
            length = self._neighbours(cluster, min(most - taken, self.clusters + 2 - cluster))
            taken += length
            if taken > self.clusters:
                _refuse("a chain with an end", "a circle")
            start = self.heap + (cluster - 2) * self.cluster_size
            yield self.data[start : start + length * self.cluster_size]
            cluster = self._next(cluster + length - 1)

    def _neighbours(self, cluster: int, most: int) -> int:
        """Return how many clusters of a chain, `most` at the most, follow one another on the volume."""
        count = 1
        while count < most:
            first = cluster + count
            size = min(_STRIDE, most - count) if self.bits > 12 else 1
            found = self._entries(first - 1, size)
            if found == tuple(range(first, first + size)):
                count += size
                continue
            return count + next(index for index, value in enumerate(found) if value != first + index)
        return count

    def _entries(self, cluster: int, count: int) -> tuple[int, ...]:
        """Return the table's entries for `count` clusters, the reserved bits of FAT32 included."""
        if self.bits == 12:
            return (self._next(cluster),)
        letter, width = ("H", 2) if self.bits == 16 else ("I", 4)
        return struct.unpack_from(f"<{count}{letter}", self.table, cluster * width)

    def _next(self, cluster: int) -> int:
        if self.bits == 12:
            at = cluster + cluster // 2
            pair = int.from_bytes(self.table[at : at + 2], "little")
            return pair >> 4 if cluster & 1 else pair & 0xFFF
        width = self.bits // 8
        value = int.from_bytes(self.table[cluster * width : (cluster + 1) * width], "little")
        # The upper four bits of a FAT32 entry are reserved.
        return value & 0x0FFFFFFF


def _refuse(expected: str, found: str, offset: int | None = None) -> NoReturn:
    raise DecodeError(WHAT, expected=expected, found=found, offset=offset, hint=_HINT)


def decode(data: memoryview) -> Volume:
    """Decode the boot sector of a partition image. DecodeError when it is no FAT that fits the partition."""
    if bytes(data[510:512]) != b"\x55\xaa":
        _refuse("a boot sector", shown(bytes(data[510:512])), 510)
    sector = _number(data, 11, 2)
    if sector not in (512, 1024, 2048, 4096):
        _refuse("sectors of 512 to 4096 bytes", str(sector), 11)
    per_cluster = data[13]
    if not per_cluster or per_cluster & (per_cluster - 1):
        _refuse("a power of two of sectors in a cluster", str(per_cluster), 13)
    reserved, tables, root_entries = _number(data, 14, 2), data[16], _number(data, 17, 2)
    total = _number(data, 19, 2) or _number(data, 32, 4)
    table_sectors = _number(data, 22, 2) or _number(data, 36, 4)
    if not reserved or not 1 <= tables <= 4 or not table_sectors:
        _refuse(
            "a reserved area and 1 to 4 allocation tables",
            f"{reserved} sectors, {tables} tables of {table_sectors}",
            14,
        )
    if total * sector > len(data):
        _refuse(f"a file system inside {len(data)} bytes", f"{total} sectors of {sector}", 32)
    root_sectors = -(-root_entries * 32 // sector)
    start = reserved + tables * table_sectors + root_sectors
    clusters = (total - start) // per_cluster
    if clusters <= 0:
        _refuse(f"clusters behind sector {start}", f"{total} sectors in all", 19)
    bits = 12 if clusters < _FAT16_CLUSTERS else 16 if clusters < _FAT32_CLUSTERS else 32
    if (bits == 32) != (not root_entries):
        _refuse(f"the root directory of FAT{bits}", f"one of {root_entries} entries", 17)
    table = data[reserved * sector : (reserved + table_sectors) * sector]
    if len(table) * 8 < (clusters + 2) * bits:
        _refuse(f"an allocation table for {clusters} clusters", f"{len(table)} bytes", 22)
    fixed = (reserved + tables * table_sectors) * sector
    return Volume(
        data=data,
        bits=bits,
        cluster_size=per_cluster * sector,
        clusters=clusters,
        table=table,
        heap=start * sector,
        root=_number(data, 44, 4) & 0x0FFFFFFF if bits == 32 else 0,
        fixed_root=data[fixed : fixed + root_entries * 32],
    )


def _number(view: memoryview, offset: int, size: int) -> int:
    return int.from_bytes(view[offset : offset + size], "little")
