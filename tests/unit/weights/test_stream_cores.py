# SPDX-License-Identifier: Apache-2.0
"""The chunks of a stream body on several cores: at once, in any order, and to the same bytes as on one."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mantlet.edge import chunks, pack_disk, stream, stream_extract
from mantlet.edge.pack_journal import Entry, Journal
from mantlet.edge.range_source import FileSource, LostSourceError, open_source
from mantlet.weights import pack
from mantlet.weights import stream as body
from mantlet.weights.descriptor import Descriptor
from mantlet.weights.disk import PARTITION_OFFSET
from mantlet_measure.body import CHUNK_SIZE, TAG_SIZE, Chunk
from mantlet_measure.deployment import Model
from mantlet_measure.disk_key import key_id
from mantlet_measure.errors import DecodeError
from tests.streams import DATA_KEY, ROOT, sealed

OTHER_KEY = bytes(range(1, 33))
FILES = {
    "a.gguf": hashlib.shake_256(b"a").digest(5 * CHUNK_SIZE - 9),
    "b.gguf": hashlib.shake_256(b"b").digest(4 * CHUNK_SIZE + 5),
    "c.json": b"{}",
}
STREAM = body.stream_of({name: len(data) for name, data in FILES.items()})
PLAIN = b"".join(FILES[name] for name in sorted(FILES))
CHUNKS = len(list(STREAM.chunks()))


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "_processes", lambda: 2)


@pytest.fixture
def model() -> Model:
    parts = pack.layout(8192)
    return Model(
        id="tiny",
        version="1",
        epoch=1,
        file="a.gguf",
        root_hash=ROOT,
        salt=pack.salt("tiny"),
        data_blocks=parts.data_blocks,
        hash_offset=parts.hash_offset,
        size=parts.size,
        stream=STREAM,
    )


@pytest.fixture
def work(model: Model, tmp_path: Path) -> Callable[[str], object]:
    """What is done with a stream body, by its name; each gives the body, the files, or nothing."""
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    places = {name: tmp_path / name for name in FILES}
    content = sealed(STREAM, PLAIN)
    made = tmp_path / "made.raw"
    pack_disk.prepare(made, model)
    with made.open("r+b") as file:
        file.seek(PARTITION_OFFSET)
        file.write(content)
    descriptor = Descriptor(
        model=model, ciphertext_sha256=hashlib.sha256(content).digest(), key_id=key_id(DATA_KEY)
    )

    def journal() -> Journal:
        entry = Entry(marks=bytes(32), model=model, key_id=key_id(DATA_KEY), done=0)
        return Journal(path=tmp_path / "journal", entry=entry)

    def written(digest: bytes) -> bytes:
        found = (tmp_path / "disk").read_bytes()[PARTITION_OFFSET:][: STREAM.size]
        assert hashlib.sha256(found).digest() == digest
        return found

    def call(name: str) -> object:
        disk = tmp_path / "disk"
        with open_source(str(made), size=pack_disk.image_size(model)) as source:
            if name == "write":
                return written(stream.write(disk, model, places, data_key=DATA_KEY, journal=journal()))
            if name == "rekey":
                return written(
                    stream.rekey(source, descriptor, disk, old=DATA_KEY, new=OTHER_KEY, journal=journal())
                )
            if name == "check":
                return stream.check(source, descriptor, data_key=DATA_KEY)
            paths = stream_extract.extract(source, descriptor, tmp_path / "out", data_key=DATA_KEY)
            return {path.name: path.read_bytes() for path in paths}

    return call


EXPECTED = {
    "write": sealed(STREAM, PLAIN),
    "rekey": sealed(STREAM, PLAIN, data_key=OTHER_KEY),
    "check": None,
    "extract": FILES,
}


def before_each(monkeypatch: pytest.MonkeyPatch, act: Callable[[Chunk], None]) -> None:
    """Have `act` called before anything is done with a chunk."""
    for name in ("seal", "unseal"):
        done = getattr(body, name)

        def acting(chunk: Chunk, *words: object, done: Callable[..., object] = done) -> object:
            act(chunk)
            return done(chunk, *words)

        monkeypatch.setattr(body, name, acting)


@pytest.mark.parametrize("name", EXPECTED)
def test_two_chunks_are_worked_on_at_once(
    work: Callable[[str], object], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    meeting = threading.Barrier(2, timeout=30)

    def meet(chunk: Chunk) -> None:
        # Neither goes on before the other is there: one core after the other would wait for ever.
        if chunk.index < CHUNKS // 2 * 2:
            meeting.wait()

    before_each(monkeypatch, meet)
    assert work(name) == EXPECTED[name]


@pytest.mark.parametrize("name", EXPECTED)
def test_chunks_that_are_ready_in_another_order_give_the_same_bytes(
    work: Callable[[str], object], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = list[int]()

    def dawdle(chunk: Chunk) -> None:
        time.sleep(0.1 if chunk.index in (0, 4) else 0)
        ready.append(chunk.index)

    before_each(monkeypatch, dawdle)
    assert work(name) == EXPECTED[name]
    assert ready != sorted(ready)
    assert sorted(ready) == list(range(CHUNKS))


@pytest.mark.parametrize("name", ["rekey", "check", "extract"])
def test_of_two_damaged_chunks_the_first_is_named_though_the_second_was_opened_sooner(
    work: Callable[[str], object], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "made.raw").open("r+b") as file:
        for index in (3, 4):
            file.seek(PARTITION_OFFSET + index * (CHUNK_SIZE + TAG_SIZE))
            file.write(b"damaged")
    before_each(monkeypatch, lambda chunk: time.sleep(0.1 if chunk.index == 3 else 0))
    with pytest.raises(DecodeError, match="chunk 3 at byte"):
        work(name)


def test_no_more_than_a_few_chunks_are_in_memory(
    work: Callable[[str], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = list[int]()
    read = FileSource.read_into
    monkeypatch.setattr(FileSource, "read_into", lambda *words: (fetched.append(words[1]), read(*words))[1])
    most = list[int]()
    # The first is held up: how many are fetched meanwhile?
    before_each(
        monkeypatch,
        lambda chunk: (time.sleep(0.3), most.append(len(fetched)))[1] if chunk.index == 0 else None,
    )
    work("extract")
    assert 1 < most[0] <= 4 * 2 < CHUNKS
    assert len(fetched) == CHUNKS


def test_what_came_before_a_loss_is_finished_and_what_comes_after_an_error_is_not_begun() -> None:
    def parts() -> Iterator[chunks.Chunk]:
        yield from chunks.cut(0, 3, (), 1)
        raise LostSourceError("gone", hint="wait")

    done = list[int]()
    with chunks.threads() as executor:
        working = chunks.in_order(executor, lambda part: part.start, parts())
        with pytest.raises(LostSourceError):
            done.extend(part.start for part, _ in working)
    assert done == [0, 1, 2]

    begun = list[int]()

    def fail(part: chunks.Chunk) -> None:
        begun.append(part.start)
        time.sleep(0.1)
        raise EOFError(part.start)

    def run() -> None:
        with chunks.threads() as executor:
            list(chunks.in_order(executor, fail, chunks.cut(0, 100, (), 1)))

    with pytest.raises(EOFError):
        run()
    assert len(begun) < 4 * 2
