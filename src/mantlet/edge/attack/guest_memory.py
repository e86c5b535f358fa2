# SPDX-License-Identifier: Apache-2.0
"""The memory of a machine as its hypervisor has it: a file, searched and changed while the machine runs.

Owns where that file is and that its offsets are physical addresses. It is a tool of the attacks, not one of
them: that a hypervisor reads the memory of a machine without encrypted memory is a limit that is stated.
"""

import mmap
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mantlet_measure.errors import UnavailableError

PAGE_SIZE = 4096
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108, a folder with a random name is made in it
# QEMU, hw/i386/pc_q35.c: from this size on, memory has a hole below 4 GiB.
_LARGEST_WITHOUT_HOLE_MIB = 0xB000_0000 >> 20
_CHUNK = 64 << 20


@contextmanager
def folder() -> Iterator[Path]:
    """Make a folder for the memory of one machine, in memory where the host has such a place."""
    parent = _SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="mantlet-", dir=parent) as name:
        yield Path(name)


def qemu_words(path: Path, *, mebibytes: int) -> Sequence[str]:
    """QEMU's options for a machine whose memory is the new file `path`."""
    if mebibytes >= _LARGEST_WITHOUT_HOLE_MIB:
        raise UnavailableError(
            f"memory: expected less than {_LARGEST_WITHOUT_HOLE_MIB} MiB, found {mebibytes}",
            hint="attack a smaller machine: here offsets in the file must be physical addresses",
        )
    backend = f"memory-backend-file,id=memory,size={mebibytes}M,mem-path={path},share=on"
    return ("-object", backend, "-machine", "memory-backend=memory")


@dataclass(frozen=True, slots=True)
class GuestMemory:
    """The memory in the file `path`. Addresses are physical, and the same as offsets in the file."""

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
