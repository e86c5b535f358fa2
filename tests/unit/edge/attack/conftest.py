# SPDX-License-Identifier: Apache-2.0
"""A process that the payload has taken, here and not in a machine: nothing confines it but our own limits."""

import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mantlet.edge.attack import payload
from mantlet.edge.attack.escape_process import Captive

MARKER = b"sixteen bytes of"
HOST = """
import ctypes, mmap, sys
code = bytes.fromhex(sys.argv[1])
place = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
place.write(code)
print("ready", flush=True)
function = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(place)))
sys.exit(55 if function() == -1 else 1)
"""


@dataclass(frozen=True)
class ForeignPage:
    """The page, in the memory of the other process."""

    pid: int
    address: int

    def read(self, at: int, size: int) -> bytes:
        """Zeros, once the process has left and ended: nothing is asked of it any more."""
        try:
            with Path(f"/proc/{self.pid}/mem").open("rb", buffering=0) as memory:
                return os.pread(memory.fileno(), size, self.address + at) or bytes(size)
        except ProcessLookupError:
            return bytes(size)

    def write(self, at: int, data: bytes) -> None:
        with Path(f"/proc/{self.pid}/mem").open("r+b", buffering=0) as memory:
            assert os.pwrite(memory.fileno(), data, self.address + at) == len(data)


def find(pid: int) -> ForeignPage:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            shared = re.match(r"([0-9a-f]+)-[0-9a-f]+ rw-s .* /dev/zero", line)
            if shared:
                page = ForeignPage(pid, int(shared[1], 16))
                if page.read(0, 24)[:16] == MARKER and page.read(0x10, 8) != bytes(8):
                    return page
        time.sleep(0.05)
    raise AssertionError("the payload mapped no page")


@pytest.fixture
def host() -> Iterator[subprocess.Popen[bytes]]:
    if platform.machine() != "x86_64" or sys.platform != "linux":
        pytest.skip("the payload is for Linux on x86-64")
    argv = [sys.executable, "-c", HOST, payload.code(MARKER).hex()]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == b"ready\n"
        yield started
        started.kill()


@pytest.fixture
def captive(host: subprocess.Popen[bytes]) -> Captive:
    return Captive(find(host.pid))
