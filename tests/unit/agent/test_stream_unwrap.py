# SPDX-License-Identifier: Apache-2.0
"""Two threads open a stream body: in whatever way it ends, neither a thread nor a descriptor is left."""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typing_extensions import override

from mantlet_agent.stages import Code, StageError
from mantlet_agent.stream_body import Read, reader, unwrap
from mantlet_measure.body import CHUNK_SIZE, TAG_SIZE, Chunk, Stream
from mantlet_measure.errors import DecodeError
from mantlet_measure.stream import StreamCipher, stream_key
from tests.streams import DATA_KEY, ROOT, content, sealed, stream_of

SEALED_SIZE = CHUNK_SIZE + TAG_SIZE
STREAM = stream_of(5 * CHUNK_SIZE - 9, 7, 1, 4 * CHUNK_SIZE)
PLAIN = content(STREAM.plain_size)
BODY = sealed(STREAM, PLAIN)
SECONDS = 30.0


class Cipher(StreamCipher):
    """The real one; it tells of a refusal."""

    def __init__(self) -> None:
        super().__init__(stream_key(DATA_KEY, ROOT), ROOT)
        self.refused = threading.Event()
        self.left = b""

    @override
    def open_into(self, chunk: Chunk, sealed: memoryview, target: memoryview) -> None:
        try:
            super().open_into(chunk, sealed, target)
        except DecodeError:
            self.left = bytes(target)
            self.refused.set()
            raise


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    before = threading.active_count(), _descriptors()
    yield
    assert (threading.active_count(), _descriptors()) == before


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


def given(body: bytes) -> tuple[Read, list[int]]:
    """What reads the body once, in order, as a pipe would; and the places at which it was asked to."""
    places = [0]

    def read(target: memoryview) -> None:
        target[:] = body[places[-1] : places[-1] + len(target)]
        places.append(places[-1] + len(target))

    return read, places


def damaged(*chunks: int) -> bytes:
    body = bytearray(BODY)
    for index in chunks:
        body[index * SEALED_SIZE + 99] ^= 1
    return bytes(body)


def before_write(monkeypatch: pytest.MonkeyPatch, act: Callable[[int], None]) -> None:
    """Have `act` called before each write, with its number."""
    write, calls = os.write, list[int]()

    def acting(target: int, data: memoryview) -> int:
        if threading.current_thread() is not threading.main_thread():
            calls.append(target)
            act(len(calls) - 1)
        return write(target, data)

    monkeypatch.setattr(os, "write", acting)


def written(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


@pytest.mark.parametrize(
    "stream", [STREAM, stream_of(1), stream_of(2 * CHUNK_SIZE), stream_of(1, 4 * CHUNK_SIZE - 1, 3)]
)
def test_files_hold_the_bytes_of_the_body_wherever_they_are_cut(folder: Path, stream: Stream) -> None:
    plain = content(stream.plain_size)
    unwrap(given(sealed(stream, plain))[0], stream, Cipher(), folder)
    assert written(folder) == plain
    assert {path.name: path.stat().st_size for path in folder.iterdir()} == {
        file.name: file.size for file in stream.files
    }


def test_writes_that_take_less_than_they_are_given_go_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda target, data: write(target, data[: CHUNK_SIZE // 3]))
    unwrap(given(BODY)[0], STREAM, Cipher(), folder)
    assert written(folder) == PLAIN


def test_chunks_are_opened_while_the_ones_before_are_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, places = given(BODY)
    ahead = threading.Event()

    def ahead_read(target: memoryview) -> None:
        read(target)
        if len(places) - 1 == 4:
            ahead.set()

    # The first write waits for the fourth chunk: one thread alone would wait for ever.
    before_write(monkeypatch, lambda number: None if number else _await(ahead))
    unwrap(ahead_read, STREAM, Cipher(), folder)
    assert written(folder) == PLAIN


@pytest.mark.parametrize("chunks", [(0,), (1, 2), (2, 3), (3, 4), (8,)])
def test_of_damaged_chunks_the_first_is_named_and_nothing_from_it_on_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, chunks: tuple[int, ...]
) -> None:
    cipher = Cipher()
    # What was handed over before is still being written when the chunk is refused.
    if chunks[0] in (2, 3):
        before_write(monkeypatch, lambda number: _await(cipher.refused))
    read, places = given(damaged(*chunks))
    with pytest.raises(DecodeError, match=f"chunk {chunks[0]} "):
        unwrap(read, STREAM, cipher, folder)
    assert written(folder) == PLAIN[: chunks[0] // 2 * 2 * CHUNK_SIZE]
    assert not any(cipher.left)
    assert len(places) - 1 == chunks[0] + 1


def test_a_body_that_ends_early_is_an_input_error(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(BODY[: 5 * SEALED_SIZE + 7])
    with (tmp_path / "body").open("rb") as file, pytest.raises(OSError, match="found 7"):
        unwrap(reader(file.fileno()), STREAM, Cipher(), folder)
    assert written(folder) == PLAIN[: 4 * CHUNK_SIZE]


def test_what_the_source_raises_is_what_is_raised(folder: Path) -> None:
    read, places = given(BODY)

    def lost(target: memoryview) -> None:
        if len(places) > 3:
            raise StageError(Code.FETCH_FAILED, "gone")
        read(target)

    with pytest.raises(StageError, match="gone"):
        unwrap(lost, STREAM, Cipher(), folder)


@pytest.mark.parametrize("number", [0, 2])
def test_a_full_memory_ends_both_threads(folder: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    before_write(monkeypatch, lambda now: _full() if now == number else None)
    read, places = given(BODY)
    with pytest.raises(OSError, match="No space left") as error:
        unwrap(read, STREAM, Cipher(), folder)
    assert error.value.errno == errno.ENOSPC
    # Two chunks are opened beside the two that were not written, and no more.
    assert len(places) - 1 <= 2 * number + 4


def test_a_full_memory_at_the_last_write_is_not_missed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before_write(monkeypatch, lambda number: _full())
    stream = stream_of(5)
    with pytest.raises(OSError, match="No space left"):
        unwrap(given(sealed(stream, content(5)))[0], stream, Cipher(), folder)


def test_a_write_that_fails_is_named_before_a_chunk_behind_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cipher = Cipher()

    def fail(number: int) -> None:
        _await(cipher.refused)
        _full()

    before_write(monkeypatch, fail)
    with pytest.raises(OSError, match="No space left"):
        unwrap(given(damaged(2))[0], STREAM, cipher, folder)


def test_a_file_that_stands_there_is_refused(folder: Path) -> None:
    (folder / STREAM.files[1].name).write_bytes(b"there")
    with pytest.raises(FileExistsError):
        unwrap(given(BODY)[0], STREAM, Cipher(), folder)
    assert (folder / STREAM.files[1].name).read_bytes() == b"there"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ends_in_an_unforeseen_way_is_an_error_and_is_not_waited_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(number: int) -> None:
        raise ValueError("unforeseen")

    before_write(monkeypatch, fail)
    with pytest.raises(OSError, match="has ended"):
        unwrap(given(BODY)[0], STREAM, Cipher(), folder)


def test_a_machine_that_has_no_thread_to_give_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(OSError, match="start new thread"):
        unwrap(given(BODY)[0], STREAM, Cipher(), folder)
    assert list(folder.iterdir()) == []


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _await(event: threading.Event) -> None:
    assert event.wait(SECONDS)


def _full() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
