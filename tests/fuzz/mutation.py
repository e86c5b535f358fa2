# SPDX-License-Identifier: Apache-2.0
"""Damage to bytes, as formats break: flipped bits, numbers at their edges, parts gone, doubled or swapped.

Everything comes out of one generator of random numbers: the same seed gives the same damage.
"""

import random
from collections.abc import Callable, Sequence

_LARGEST = 1 << 22
_EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, (1 << 64) - 1)


def damaged(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Return `data` with one to five kinds of damage done to it; `others` lend parts of theirs."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5))):
        rng.choice(_KINDS)(rng, changed, rng.choice(others))
    return bytes(changed[:_LARGEST])


def _place(rng: random.Random, data: bytearray) -> int:
    """A position in `data`; half of the time among the first bytes, where the headers are."""
    return rng.randrange(min(len(data), 256) if rng.random() < 0.5 else len(data)) if data else 0


def _flip(rng: random.Random, data: bytearray, _other: bytes) -> None:
    if data:
        data[_place(rng, data)] ^= 1 << rng.randrange(8)


def _byte(rng: random.Random, data: bytearray, _other: bytes) -> None:
    if data:
        data[_place(rng, data)] = rng.randrange(256)


def _number(rng: random.Random, data: bytearray, _other: bytes) -> None:
    """Put a number at the edge of its type, or next to what is there, or the size of the data."""
    size = rng.choice((1, 2, 4, 8))
    at = _place(rng, data)
    order = rng.choice(("little", "big"))
    there = int.from_bytes(data[at : at + size], order)
    value = rng.choice((*_EDGES, there + 1, there - 1, there * 2, len(data), len(data) - at))
    data[at : at + size] = (value % (1 << 8 * size)).to_bytes(size, order)


def _digits(rng: random.Random, data: bytearray, _other: bytes) -> None:
    """Put a number as text, as JSON and cpio have it."""
    at = _place(rng, data)
    text = rng.choice(
        (b"-1", b"0", b"9007199254740993", b"1e9", b"ffffffff", b"FFFFFFFF", b'""', b"[", b"{}")
    )
    data[at : at + rng.choice((0, len(text)))] = text


def _cut(_rng: random.Random, data: bytearray, _other: bytes) -> None:
    del data[_place(_rng, data) :]


def _remove(rng: random.Random, data: bytearray, _other: bytes) -> None:
    at = _place(rng, data)
    del data[at : at + rng.choice((1, 2, 4, 8, 16, 512, 4096))]


def _double(rng: random.Random, data: bytearray, _other: bytes) -> None:
    at, size = _place(rng, data), rng.choice((1, 4, 16, 64, 512, 4096))
    data[at:at] = data[at : at + size] * rng.choice((1, 1, 2, 64))


def _fill(rng: random.Random, data: bytearray, _other: bytes) -> None:
    at, size = _place(rng, data), rng.choice((1, 4, 16, 64, 512))
    data[at : at + size] = bytes([rng.choice((0, 0xFF, 0x20))]) * size


def _lend(rng: random.Random, data: bytearray, other: bytes) -> None:
    if other:
        start, size = rng.randrange(len(other)), rng.choice((4, 16, 64, 512, 4096))
        at = _place(rng, data)
        data[at : at + rng.choice((0, size))] = other[start : start + size]


_KINDS: tuple[Callable[[random.Random, bytearray, bytes], None], ...] = (
    *(_flip, _byte, _number, _number, _digits, _cut, _remove, _double, _fill, _lend),
)
