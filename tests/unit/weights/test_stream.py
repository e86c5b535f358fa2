# SPDX-License-Identifier: Apache-2.0
"""Stream bodies on disk: written, checked, given another key, extracted; what an attacker makes of them."""

import hashlib
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mantlet.edge import pack as packs
from mantlet.edge import pack_disk, stream_extract
from mantlet.edge import stream as edge
from mantlet.edge.attack.tiny_gguf import tiny_gguf
from mantlet.edge.pack_journal import Entry, Journal
from mantlet.edge.pack_plan import Label
from mantlet.edge.range_source import HttpsSource, open_source
from mantlet.edge.tools import ToolsTree
from mantlet.weights import disk as image
from mantlet.weights import pack, stream
from mantlet.weights.descriptor import Descriptor, decode, encode
from mantlet_measure.body import CHUNK_SIZE, TAG_SIZE
from mantlet_measure.deployment import Model
from mantlet_measure.disk_key import key_id
from mantlet_measure.errors import DecodeError, UnavailableError
from tests.range_server import Resource, serving
from tests.streams import DATA_KEY, ROOT

SEALED_SIZE = CHUNK_SIZE + TAG_SIZE
OTHER_KEY = bytes(range(1, 33))
FILES = {
    "tokenizer.json": b"{}",
    "model-00002-of-00002.gguf": hashlib.shake_256(b"2").digest(2 * CHUNK_SIZE + 5),
    "model-00001-of-00002.gguf": hashlib.shake_256(b"1").digest(CHUNK_SIZE - 9),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A pack on disk."""

    disk: Path
    descriptor: Descriptor

    def extract(self, folder: Path, *, data_key: bytes = DATA_KEY) -> dict[str, bytes]:
        """Extract the files and return them by name."""
        with open_source(str(self.disk), size=pack_disk.image_size(self.descriptor.model)) as source:
            paths = stream_extract.extract(source, self.descriptor, folder, data_key=data_key)
        return {path.name: path.read_bytes() for path in paths}

    def check(self, *, data_key: bytes | None = DATA_KEY) -> None:
        """Check the whole pack."""
        with open_source(str(self.disk), size=pack_disk.image_size(self.descriptor.model)) as source:
            edge.check(source, self.descriptor, data_key=data_key)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    folder = tmp_path / "model"
    folder.mkdir()
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    parts = pack.layout(8192)
    model = Model(
        id="tiny",
        version="1",
        epoch=1,
        file="model-00001-of-00002.gguf",
        root_hash=ROOT,
        salt=pack.salt("tiny"),
        data_blocks=parts.data_blocks,
        hash_offset=parts.hash_offset,
        size=parts.size,
        stream=stream.stream_of({name: len(data) for name, data in FILES.items()}),
    )
    disk = tmp_path / "tiny.raw"
    digest = write(disk, model, {name: folder / name for name in FILES})
    return Made(
        disk=disk,
        descriptor=Descriptor(model=model, ciphertext_sha256=digest, key_id=key_id(DATA_KEY)),
    )


def fresh(folder: Path, model: Model) -> Journal:
    """The journal of a run that nothing came before."""
    entry = Entry(marks=bytes(32), model=model, key_id=key_id(DATA_KEY), done=0)
    return Journal(path=folder / "journal", entry=entry)


def write(disk: Path, model: Model, places: Mapping[str, Path]) -> bytes:
    """Write a stream body that nothing came before."""
    return edge.write(disk, model, places, data_key=DATA_KEY, journal=fresh(disk.parent, model))


def flip(path: Path, place: int) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 0x10]))


def test_a_pack_is_extracted_as_it_was(made: Made, tmp_path: Path) -> None:
    made.check()
    made.check(data_key=None)
    assert made.extract(tmp_path / "out") == FILES
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(FILES)


def test_the_body_stands_in_the_partition_under_its_digest_and_names_sort_the_files(made: Made) -> None:
    model = made.descriptor.model
    assert model.stream is not None
    assert [file.name for file in model.stream.files] == sorted(FILES)
    whole = made.disk.read_bytes()
    body = whole[image.PARTITION_OFFSET :][: model.body_size]
    assert hashlib.sha256(body).digest() == made.descriptor.ciphertext_sha256
    assert len(whole) == pack_disk.image_size(model)
    assert not any(part in whole for part in (data[:64] for data in FILES.values() if len(data) > 64))


def test_the_descriptor_names_the_cipher_of_the_body_and_survives(made: Made) -> None:
    payload = encode(made.descriptor)
    assert b'"cipher":"aes-256-gcm-stream"' in payload
    assert b"sector_size" not in payload
    assert decode(payload) == made.descriptor
    disk = replace(made.descriptor, model=replace(made.descriptor.model, stream=None))
    for alien in (
        payload.replace(b"aes-256-gcm-stream", b"aes-xts-plain64"),
        payload.replace(b"aes-256-gcm-stream", b"cipher_null"),
        encode(disk).replace(b"aes-xts-plain64", b"aes-256-gcm-stream"),
    ):
        with pytest.raises(DecodeError, match="cipher"):
            decode(alien)


@pytest.mark.parametrize(
    "place",
    [0, SEALED_SIZE - 1, SEALED_SIZE, 2 * SEALED_SIZE + 77, -1],
    ids=["first", "tag", "second chunk", "middle", "last"],
)
def test_a_flipped_byte_is_named_by_its_chunk_and_no_file_comes_out(
    made: Made, tmp_path: Path, place: int
) -> None:
    size = made.descriptor.model.body_size
    flip(made.disk, image.PARTITION_OFFSET + place % size)
    chunk = place % size // SEALED_SIZE
    with pytest.raises(DecodeError, match=f"chunk {chunk} at byte {chunk * SEALED_SIZE}"):
        made.extract(tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    with pytest.raises(DecodeError, match=f"chunk {chunk} "):
        made.check()
    with pytest.raises(DecodeError, match="expected SHA-256"):
        made.check(data_key=None)


@pytest.mark.parametrize("place", [0, 512, 1024, image.PARTITION_OFFSET - 1, -1, -513])
def test_a_flipped_byte_around_the_body_is_named_by_its_offset(made: Made, place: int) -> None:
    offset = place % made.disk.stat().st_size
    flip(made.disk, offset)
    with pytest.raises(DecodeError, match=f"at byte {offset}: expected the pack's partition table"):
        made.check()


def test_a_pack_that_was_cut_or_continued_is_refused(made: Made, tmp_path: Path) -> None:
    size = made.disk.stat().st_size
    for other in (size - 1, size + 4096):
        with made.disk.open("r+b") as file:
            file.truncate(other)
        with pytest.raises(DecodeError, match=f"expected {size:,} bytes, found {other:,}"):
            made.extract(tmp_path / "out")


def test_a_key_of_another_pack_is_refused_before_anything_is_read(made: Made, tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match=f"expected key {key_id(DATA_KEY).hex()}, found key"):
        made.extract(tmp_path / "out", data_key=OTHER_KEY)


def test_the_body_of_another_pack_is_refused(made: Made, tmp_path: Path) -> None:
    other = replace(made.descriptor, model=replace(made.descriptor.model, root_hash=bytes(32)))
    with pytest.raises(DecodeError, match="chunk 0 at byte 0"):
        replace(made, descriptor=other).extract(tmp_path / "out")


def test_files_that_stood_there_stay_when_the_pack_is_refused(made: Made, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "tokenizer.json").write_bytes(b"old")
    flip(made.disk, image.PARTITION_OFFSET + made.descriptor.model.body_size - 1)
    with pytest.raises(DecodeError):
        made.extract(tmp_path / "out")
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == b"old"


def test_a_pack_with_another_key_has_the_same_files_and_no_chunk_in_common(
    made: Made, tmp_path: Path
) -> None:
    disk, model = tmp_path / "other.raw", made.descriptor.model
    with open_source(str(made.disk), size=pack_disk.image_size(model)) as source:
        digest = edge.rekey(
            source, made.descriptor, disk, old=DATA_KEY, new=OTHER_KEY, journal=fresh(tmp_path, model)
        )
    descriptor = replace(made.descriptor, ciphertext_sha256=digest, key_id=key_id(OTHER_KEY))
    other = Made(disk=disk, descriptor=descriptor)
    other.check(data_key=OTHER_KEY)
    assert other.extract(tmp_path / "out", data_key=OTHER_KEY) == FILES
    one, two = (path.read_bytes()[image.PARTITION_OFFSET :] for path in (made.disk, disk))
    assert all(one[n * SEALED_SIZE :][:64] != two[n * SEALED_SIZE :][:64] for n in range(3))


def test_the_same_key_gives_the_same_bytes(made: Made, tmp_path: Path) -> None:
    again = tmp_path / "again.raw"
    places = {name: tmp_path / "model" / name for name in FILES}
    assert write(again, made.descriptor.model, places) == made.descriptor.ciphertext_sha256
    assert again.read_bytes() == made.disk.read_bytes()


def test_a_file_that_shrank_while_it_was_packed_is_refused(made: Made, tmp_path: Path) -> None:
    places = {name: tmp_path / "model" / name for name in FILES}
    places["tokenizer.json"].write_bytes(b"{")
    with pytest.raises(UnavailableError, match="expected 2 bytes, found 1"):
        write(tmp_path / "again.raw", made.descriptor.model, places)


def test_more_files_than_a_document_carries_are_refused() -> None:
    with pytest.raises(DecodeError, match="expected 1 to 256 files, found 257"):
        stream.stream_of({f"shard-{n}": 1 for n in range(257)})


def test_a_pack_with_a_disk_body_is_refused(made: Made) -> None:
    with pytest.raises(DecodeError, match="expected a stream body, found a disk body"):
        edge.stream_of(replace(made.descriptor.model, stream=None))


def over_https(made: Made, folder: Path, resource: Resource) -> dict[str, bytes]:
    with serving(resource, folder):
        context = ssl.create_default_context(cafile=resource.authority)
        source = HttpsSource(
            resource.url,
            size=pack_disk.image_size(made.descriptor.model),
            context=context,
            pause=lambda _seconds: None,
        )
        try:
            paths = stream_extract.extract(source, made.descriptor, folder / "out", data_key=DATA_KEY)
        finally:
            source.close()
    return {path.name: path.read_bytes() for path in paths}


def test_a_pack_comes_whole_over_https_through_dropped_connections(made: Made, tmp_path: Path) -> None:
    resource = Resource(content=made.disk.read_bytes(), drop_after=SEALED_SIZE + 1000, drops=2)
    assert over_https(made, tmp_path, resource) == FILES
    body = image.PARTITION_OFFSET
    # Each time from the chunk that was cut, whose first bytes are not kept.
    assert resource.asked == [f"bytes={body + n * SEALED_SIZE}-" for n in (0, 1, 2)]


def _swapped(content: bytes) -> bytes:
    start, middle, end = (image.PARTITION_OFFSET + n * SEALED_SIZE for n in (0, 1, 2))
    return content[:start] + content[middle:end] + content[start:middle] + content[end:]


def _flipped(content: bytes) -> bytes:
    place = image.PARTITION_OFFSET + SEALED_SIZE
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize(("attack", "chunk"), [(_swapped, 0), (_flipped, 1)])
def test_a_server_that_alters_the_pack_gets_no_file_out(
    made: Made, tmp_path: Path, attack: Callable[[bytes], bytes], chunk: int
) -> None:
    with pytest.raises(DecodeError, match=f"chunk {chunk} "):
        over_https(made, tmp_path, Resource(content=attack(made.disk.read_bytes())))
    assert list((tmp_path / "out").iterdir()) == []


def test_a_model_has_one_root_hash_whatever_its_body_and_comes_back_from_the_stream(
    tmp_path: Path, tools: ToolsTree
) -> None:
    source = tmp_path / "sharded"
    source.mkdir()
    data = {"a.gguf": tiny_gguf(), "b.bin": hashlib.shake_256(b"b").digest(CHUNK_SIZE + 1)}
    for name, content in data.items():
        (source / name).write_bytes(content)
    one, other = (
        packs.write(
            source,
            tmp_path / body,
            label=Label(id="tiny", version="1", epoch=1),
            file=None,
            key_file=tmp_path / "tiny.key",
            owner=Ed25519PrivateKey.generate(),
            tools=tools,
            body=body,
        )
        for body in packs.Body
    )
    assert other.descriptor.model.stream is not None
    assert one.descriptor.model == replace(other.descriptor.model, stream=None)
    assert one.descriptor.key_id == other.descriptor.key_id
    made = Made(disk=other.image, descriptor=other.descriptor)
    assert made.extract(tmp_path / "out", data_key=other.key_file.read_bytes()) == data
