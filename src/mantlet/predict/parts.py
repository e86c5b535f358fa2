# SPDX-License-Identifier: Apache-2.0
"""Events over data that lies in several places.

Owns the hashing of large parts in several banks without joining or copying them. The banks of large data are
hashed side by side: hashlib lets go of the interpreter lock while it works.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from mantlet_measure.pcr import BANKS, Bank, Event

# Below this a thread costs more than it saves.
_LARGE = 1 << 20


def digests(parts: Sequence[bytes | memoryview], banks: Sequence[Bank]) -> Mapping[Bank, bytes]:
    """Return the hash of the concatenation of `parts` in each of `banks`."""
    if len(banks) < 2 or sum(len(part) for part in parts) < _LARGE:
        return {bank: _digest(bank, parts) for bank in banks}
    with ThreadPoolExecutor(len(banks)) as pool:
        return dict(zip(banks, pool.map(lambda bank: _digest(bank, parts), banks), strict=True))


def _digest(bank: Bank, parts: Iterable[bytes | memoryview]) -> bytes:
    state = hashlib.new(bank.value, usedforsecurity=False)
    for part in parts:
        state.update(part)
    return state.digest()


def measured_parts(
    register: int,
    parts: Iterable[bytes | memoryview],
    *,
    type: str,
    description: str,
    banks: tuple[Bank, ...] = BANKS,
) -> Event:
    """Return the event of measuring the concatenation of `parts` into `register`, in each of `banks`."""
    return Event(
        register=register,
        digests=digests(tuple(parts), banks),
        type=type,
        description=description,
    )
