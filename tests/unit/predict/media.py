# SPDX-License-Identifier: Apache-2.0
"""Disks and file systems for the tests: partition tables made by hand, FAT by mkfs and mtools."""

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from mantlet.predict.gpt import ESP

ROOT = UUID("4f68bce3-e8cd-4db1-96e7-fbcaf984b709")
DISK = UUID("11111111-2222-3333-4444-555555555555")
ENTRIES = 128


def number(value: int, size: int) -> bytes:
    """A little-endian integer."""
    return value.to_bytes(size, "little")


def table(
    partitions: Sequence[tuple[UUID, str, int, int]], *, blocks: int, sector: int = 512
) -> tuple[bytes, bytes]:
    """Header and entries for partitions of (type, name, first block, last block)."""
    entries = bytearray(ENTRIES * 128)
    for index, (kind, name, first, last) in enumerate(partitions):
        entry = kind.bytes_le + UUID(int=index + 1).bytes_le + number(first, 8) + number(last, 8)
        entries[index * 128 : index * 128 + 128] = (
            entry + bytes(8) + name.encode("utf-16-le").ljust(72, b"\0")
        )
    used = -(-len(entries) // sector)
    return header(bytes(entries), blocks=blocks, first=2 + used), bytes(entries)


def header(entries: bytes, *, blocks: int, first: int, width: int = 128, crc: int | None = None) -> bytes:
    """A primary header whose checksums hold."""
    fields = (
        b"EFI PART\x00\x00\x01\x00" + number(92, 4) + bytes(8) + number(1, 8) + number(blocks - 1, 8)
        + number(first, 8) + number(blocks - 34, 8) + DISK.bytes_le + number(2, 8)
        + number(len(entries) // width, 4) + number(width, 4) + number(zlib.crc32(entries), 4)
    )  # fmt: skip
    return sealed(fields)


def sealed(fields: bytes) -> bytes:
    """A header with the checksum that belongs to it."""
    blank = fields[:16] + bytes(4) + fields[20:]
    return fields[:16] + number(zlib.crc32(blank), 4) + fields[20:]


def disk(contents: Sequence[tuple[UUID, bytes]], *, sector: int = 512) -> bytes:
    """A disk of these partitions, each from a multiple of 1 MiB on, with a protective MBR."""
    step = (1 << 20) // sector
    partitions, body, start = [], bytearray(1 << 20), step
    for kind, content in contents:
        blocks = -(-len(content) // sector)
        partitions.append((kind, "part", start, start + blocks - 1))
        body += content + bytes(-len(content) % (1 << 20))
        start = len(body) // sector
    total = start + 64
    head, entries = table(partitions, blocks=total, sector=sector)
    whole = bytearray(bytes(body) + bytes(64 * sector))
    whole[510:512] = b"\x55\xaa"
    whole[sector : sector + len(head)] = head
    whole[2 * sector : 2 * sector + len(entries)] = entries
    return bytes(whole)


def fat(artefacts: Any, files: Mapping[str, bytes], *, bits: int = 32, name: str = "esp") -> bytes:
    """A FAT file system of `bits` with these files, made by the programs that everybody uses."""
    folder: Path = artefacts.folder
    image = folder / f"{name}.img"
    size = {12: 2 << 20, 16: 8 << 20, 32: 36 << 20}[bits]
    image.write_bytes(bytes(size))
    artefacts.run("mkfs.vfat", "-F", str(bits), "-s", "1", str(image))
    made: set[str] = set()
    for path, content in files.items():
        parts = path.split("/")
        for depth in range(1, len(parts)):
            above = "/".join(parts[:depth])
            if above not in made:
                _mtools(artefacts, "mmd", "-i", str(image), f"::{above}")
                made.add(above)
        source = folder / "content"
        source.write_bytes(content)
        _mtools(artefacts, "mcopy", "-i", str(image), str(source), f"::{path}")
    return image.read_bytes()


def _mtools(artefacts: Any, *words: str) -> None:
    artefacts.run("env", "MTOOLS_SKIP_CHECK=1", *words)


def attribute(artefacts: Any, name: str, path: str, attribute: str) -> bytes:
    """The file system `name` after `mattrib`."""
    image = artefacts.folder / f"{name}.img"
    _mtools(artefacts, "mattrib", "-i", str(image), attribute, f"::{path}")
    data = image.read_bytes()
    assert isinstance(data, bytes)
    return data


def with_esp(content: bytes) -> bytes:
    """A disk of a root partition and this EFI system partition."""
    return disk([(ROOT, b"the root"), (ESP, content)])
