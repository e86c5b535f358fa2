# SPDX-License-Identifier: Apache-2.0
"""Events over data that lies in several places.

Owns the hashing of large parts in both banks without joining or copying them.
"""

import hashlib
from collections.abc import Iterable

from mantlet_measure.pcr import BANKS, Event


def measured_parts(
    register: int, parts: Iterable[bytes | memoryview], *, claimed_type: str, description: str
) -> Event:
    """Return the event of measuring the concatenation of `parts` into `register`."""
    states = {bank: hashlib.new(bank.value) for bank in BANKS}
    for part in parts:
        for state in states.values():
            state.update(part)
    return Event(
        register=register,
        digests={bank: state.digest() for bank, state in states.items()},
        claimed_type=claimed_type,
        description=description,
    )
