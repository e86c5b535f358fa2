# SPDX-License-Identifier: Apache-2.0
"""Bad disks end with exit code 3 and what was missing, in bounded memory, and never with "no finding".

Each is given to the whole verb in a process of its own, whose address space the kernel ends at 1.5 GiB: what
would take more ends there. The programs of the tools tree that it runs have the same limit.
"""

import gzip
import json
import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest
from backports import zstd

from mantlet.edge import process
from mantlet.predict.gpt import ESP
from tests.unit.audit.disks import SIGNATURE, UKI, VERITY, Bench, erofs, ext4, squashfs, with_esp, written
from tests.unit.audit.test_kernel_image import bzimage
from tests.unit.predict import initrds, media

ADDRESSES, RESIDENT = 3 << 29, 500_000_000
RUN = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]), int(sys.argv[1])))
from mantlet.cli import main
code = main(["audit", sys.argv[2], "--json"])
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print("\\n", code, peak)
"""


class Ended(NamedTuple):
    """How the verb ended: its exit code, what it said, and its peak of resident bytes."""

    code: int
    said: str
    resident: int


def audited(bench: Bench, content: bytes) -> Ended:
    """Audit a disk of these bytes in a process with a limit."""
    disk = written(bench, content)
    told = process.run([sys.executable, "-c", RUN, str(ADDRESSES), str(disk)]).stdout.decode()
    document, last = told.rsplit("\n", 2)[0], told.split()[-2:]
    said = json.loads(document).get("error", {}).get("message", "no error")
    return Ended(code=int(last[0]), said=said, resident=int(last[1]) * 1024)


def with_root(bench: Bench, root: bytes, **sections: bytes | None) -> bytes:
    """A disk of a root and a UKI with these sections."""
    return with_esp(bench, {UKI: bench.uki(**sections)}, root=root)


def scribbled(content: bytes, start: int) -> bytes:
    """A file system whose metadata are ones from a byte on."""
    return content[:start] + b"\xff" * (len(content) - start)


def many_files() -> bytes:
    """An initrd of more files than anybody has."""
    return initrds.record("a", b"") * 100_000 + initrds.TRAILER


def verified(bench: Bench, tree: bytes, signature: bytes) -> bytes:
    """A disk with a hash tree and a signature of these bytes."""
    esp = bench.esp({UKI: bench.uki()})
    return media.disk([(media.ROOT, erofs(bench)), (VERITY, tree), (SIGNATURE, signature), (ESP, esp)])


BAD: dict[str, tuple[Callable[[Bench], bytes], str]] = {
    "no partition table": (lambda bench: bytes(1 << 20), "partition table"),
    "an empty file": (lambda bench: b"", "found 0"),
    "a text": (lambda bench: b"#!/bin/sh\n" * 4096, "partition table"),
    "no UKI": (lambda bench: with_esp(bench, {"EFI/notes.txt": b"x"}, root=erofs(bench)), "UKI"),
    "a program that is no UKI": (
        lambda bench: with_esp(bench, {UKI: b"MZ" + bytes(4096)}, root=erofs(bench)),
        "BOOTX64",
    ),
    "no file system": (lambda bench: with_root(bench, bytes(1 << 20)), "file system"),
    "a file system that is unknown": (lambda bench: with_root(bench, b"ReIsEr" * 4096), "file system"),
    "xfs": (lambda bench: with_root(bench, b"XFSB" + bytes(4092)), "xfs"),
    "LUKS": (lambda bench: with_root(bench, b"LUKS\xba\xbe" + bytes(4090)), "LUKS"),
    "a disk that is cut off": (lambda bench: with_root(bench, erofs(bench))[: 3 << 20], "partition"),
    "a root that is cut off": (lambda bench: with_root(bench, erofs(bench)[:1500]), "file system"),
    "erofs with ones in its metadata": (
        lambda bench: with_root(bench, scribbled(erofs(bench), 1152)),
        "file system erofs",
    ),
    "squashfs with ones in its metadata": (
        lambda bench: with_root(bench, scribbled(squashfs(bench), 96)),
        "file system squashfs",
    ),
    "ext4 with ones in its metadata": (
        lambda bench: with_root(bench, scribbled(ext4(bench), 4096)),
        "file system ext4",
    ),
    "an initrd that is no gzip": (
        lambda bench: with_root(bench, erofs(bench), initrd=b"\x1f\x8b\x08" + b"\xff" * 400),
        "initrd",
    ),
    "an initrd that is cut off": (
        lambda bench: with_root(
            bench, erofs(bench), initrd=gzip.compress(initrds.record("a", bytes(4096)))[:-30]
        ),
        "initrd",
    ),
    "an initrd that is a bomb in one file": (
        lambda bench: with_root(
            bench,
            erofs(bench),
            initrd=zstd.compress(initrds.record("big", bytes(300 << 20)) + initrds.TRAILER),
        ),
        "initrd",
    ),
    "an initrd that is a bomb between archives": (
        lambda bench: with_root(
            bench,
            erofs(bench),
            initrd=zstd.compress(initrds.TRAILER + bytes(600 << 20) + b"no archive" * 20),
        ),
        "initrd",
    ),
    "an initrd of files without end": (
        lambda bench: with_root(bench, erofs(bench), initrd=zstd.compress(many_files())),
        "initrd",
    ),
    "a kernel that is a bomb": (
        lambda bench: with_root(bench, erofs(bench), linux=bytes(bzimage(zstd.compress(bytes(400 << 20))))),
        "kernel",
    ),
    "a hash tree without a superblock": (lambda bench: verified(bench, bytes(8192), b"{}"), "dm-verity"),
    "a hash tree over more than there is": (
        lambda bench: verified(bench, bytes(superblock(1 << 40)), b"{}"),
        "dm-verity",
    ),
}


def superblock(blocks: int) -> bytearray:
    """A superblock of dm-verity over so many blocks."""
    made = bytearray(4096)
    made[0:16] = b"verity\0\0" + (1).to_bytes(4, "little") * 2
    made[32:38] = b"sha256"
    made[64:80] = (4096).to_bytes(4, "little") * 2 + blocks.to_bytes(8, "little")
    return made


@pytest.mark.parametrize("name", BAD)
def test_a_bad_disk_ends_with_three_and_what_was_missing_in_bounded_memory(bench: Bench, name: str) -> None:
    make, said = BAD[name]
    ended = audited(bench, make(bench))
    assert ended.code == 3
    assert said in ended.said
    assert "expected" in ended.said
    assert ended.resident < RESIDENT


def test_the_same_process_looks_at_a_good_disk(bench: Bench) -> None:
    ended = audited(bench, with_root(bench, erofs(bench)))
    assert (ended.code, ended.said) == (1, "no error")
    assert ended.resident < RESIDENT
