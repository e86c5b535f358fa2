# SPDX-License-Identifier: Apache-2.0
"""The search of a machine's memory, on files as QEMU makes them: mostly holes."""

from pathlib import Path

import pytest

from mantlet.edge.attack.guest_memory import PAGE_SIZE, GuestMemory

SIZE = 1 << 30


@pytest.fixture
def memory(tmp_path: Path) -> GuestMemory:
    path = tmp_path / "memory"
    with path.open("wb") as file:
        file.truncate(SIZE)
    return GuestMemory(path)


def put(memory: GuestMemory, at: int, content: bytes) -> None:
    with memory.path.open("r+b") as file:
        file.seek(at)
        file.write(content)


def test_every_place_is_found_wherever_it_lies(memory: GuestMemory) -> None:
    places = [0, 16, PAGE_SIZE - 3, 64 << 20, (64 << 20) + 63 * (1 << 20) + 7, SIZE - 6]
    for place in places:
        put(memory, place, b"needle")
    assert list(memory.find(b"needle")) == places


def test_what_lies_across_two_reads_is_found_once(memory: GuestMemory) -> None:
    put(memory, 0, b"x" * (130 << 20))
    put(memory, (64 << 20) - 3, b"needle")
    assert list(memory.find(b"needle")) == [(64 << 20) - 3]


def test_pages_are_found_at_their_beginning_alone(memory: GuestMemory) -> None:
    put(memory, 3 * PAGE_SIZE, b"needle")
    put(memory, 9 * PAGE_SIZE + 1, b"needle")
    assert memory.find_page(b"needle") == (3 * PAGE_SIZE,)


def test_a_page_of_zeros_is_no_mark(memory: GuestMemory) -> None:
    with pytest.raises(ValueError, match="zeros"):
        memory.find_page(bytes(PAGE_SIZE))


def test_a_mapped_page_is_changed_in_place(memory: GuestMemory) -> None:
    with memory.page(7 * PAGE_SIZE) as page:
        page.write(5, b"needle")
        assert page.read(5, 6) == b"needle"
    assert memory.read(7 * PAGE_SIZE + 5, 6) == b"needle"
