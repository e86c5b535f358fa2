# SPDX-License-Identifier: Apache-2.0
"""The memory of a machine as its hypervisor has it: a file, searched and changed while the machine runs.

Offsets in the file are physical addresses: the machines here are too small for the hole that QEMU leaves
below 4 GiB (hw/i386/pc_q35.c). It is a tool of the attacks, not one of them: that a hypervisor reads the
memory of a machine without encrypted memory is a limit that is stated.
"""

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PAGE_SIZE = 4096
_CHUNK = 64 << 20


@dataclass(frozen=True, slots=True)
class GuestMemory:
    """The memory in the file `path`. Addresses are physical."""

    path: Path

    def find_page(self, content: bytes) -> tuple[int, ...]:
        """Return the addresses of all pages that begin with `content`."""
        if not content.strip(b"\0"):
            raise ValueError("zeros are everywhere")
        return tuple(at for at in self.find(content) if at % PAGE_SIZE == 0)

    def find(self, content: bytes) -> Iterator[int]:
        """Yield every address where `content` is. Memory that was never touched is passed over."""
        overlap = len(content) - 1
        for start, end in self._used():
            before, at = b"", start
            while at < end:
                chunk = self.read(at, min(_CHUNK, end - at))
                window = before + chunk
                place = window.find(content)
                while place >= 0:
                    yield at - len(before) + place
                    place = window.find(content, place + 1)
                before = window[len(window) - overlap :] if overlap else b""
                at += len(chunk)

    def read(self, address: int, size: int) -> bytes:
        """Read as it is now."""
        with self.path.open("rb") as file:
            return os.pread(file.fileno(), size, address)

    @contextmanager
    def page(self, address: int) -> Iterator["GuestPage"]:
        """Map one page, to be changed in place while the machine runs."""
        with (
            self.path.open("r+b") as file,
            mmap.mmap(file.fileno(), PAGE_SIZE, offset=address) as mapped,
        ):
            yield GuestPage(mapped)

    def _used(self) -> Iterator[tuple[int, int]]:
        """Yield the ranges that hold something."""
        with self.path.open("rb") as file:
            size, at = os.fstat(file.fileno()).st_size, 0
            while at < size:
                try:
                    at = os.lseek(file.fileno(), at, os.SEEK_DATA)
                except OSError:
                    # ENXIO: nothing more.
                    return
                end = os.lseek(file.fileno(), at, os.SEEK_HOLE)
                yield at, end
                at = end


@dataclass(frozen=True, slots=True)
class GuestPage:
    """One mapped page."""

    mapped: mmap.mmap

    def read(self, at: int, size: int) -> bytes:
        """Read as it is now."""
        return self.mapped[at : at + size]

    def write(self, at: int, data: bytes) -> None:
        """Write; the machine sees it at once."""
        self.mapped[at : at + len(data)] = data
