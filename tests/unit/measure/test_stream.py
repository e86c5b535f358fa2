# SPDX-License-Identifier: Apache-2.0
"""The stream body's cut and cipher: against the primitives alone, and against whoever moves chunks."""

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given, settings
from hypothesis import strategies as st

from mantlet_measure import deployment, strictjson
from mantlet_measure.body import CHUNK_SIZE, TAG_SIZE, Stream, StreamFile, stream_to_value
from mantlet_measure.deployment import Deployment, Model
from mantlet_measure.errors import DecodeError
from mantlet_measure.stream import StreamCipher, stream_key
from tests.streams import DATA_KEY, ROOT, content, sealed, stream_of

SEALED_SIZE = CHUNK_SIZE + TAG_SIZE
DEPLOYMENT = Deployment(
    id="demo",
    image_id="mantlet",
    image_version="1",
    manifest_sha256=bytes(32),
    model=Model(
        id="tiny",
        version="1",
        epoch=1,
        file="model.gguf",
        root_hash=ROOT,
        salt=bytes(32),
        data_blocks=2,
        hash_offset=8192,
        size=12288,
    ),
    policy_key=b"\x00\x0b" + b"p" * 32,
    runtime="llama-server",
)


def opened(stream: Stream, body: bytes, *, data_key: bytes = DATA_KEY, root: bytes = ROOT) -> Iterator[bytes]:
    """Yield the plaintext of each chunk that authenticates; DecodeError at the first one that does not."""
    cipher = StreamCipher(stream_key(data_key, root), root)
    for chunk in stream.chunks():
        target = bytearray(chunk.size)
        part = bytearray(body[chunk.offset : chunk.offset + chunk.sealed_size])
        cipher.open_into(chunk, memoryview(part), memoryview(target))
        yield bytes(target)


def released(stream: Stream, body: bytes, **keys: bytes) -> bytes:
    """What had been let through when the body was refused."""
    out = list[bytes]()
    with pytest.raises(DecodeError):
        out.extend(opened(stream, body, **keys))
    return b"".join(out)


THREE = stream_of(5, CHUNK_SIZE, 2 * CHUNK_SIZE - 1000)
PLAIN = content(THREE.plain_size)
BODY = sealed(THREE, PLAIN)
CHUNKS = tuple(BODY[start : start + SEALED_SIZE] for start in range(0, len(BODY), SEALED_SIZE))


def test_a_body_opens_to_what_was_sealed() -> None:
    assert b"".join(opened(THREE, BODY)) == PLAIN
    assert len(CHUNKS) == 3
    assert len(CHUNKS[-1]) == 5 + 3 * CHUNK_SIZE - 1000 - 2 * CHUNK_SIZE + TAG_SIZE


def test_each_chunk_equals_the_primitives_put_together_by_hand() -> None:
    derived = HKDF(algorithm=SHA256(), length=39, salt=ROOT, info=b"mantlet/v1/stream").derive(DATA_KEY)
    for index, chunk in enumerate(CHUNKS):
        nonce = derived[32:] + index.to_bytes(4, "big") + (b"\1" if index == 2 else b"\0")
        plain = PLAIN[index * CHUNK_SIZE : (index + 1) * CHUNK_SIZE]
        assert chunk == AESGCM(derived[:32]).encrypt(nonce, plain, b"mantlet/v1/stream" + ROOT)


@pytest.mark.parametrize(
    ("attack", "before"),
    [
        (lambda: CHUNKS[1] + CHUNKS[0] + CHUNKS[2], 0),
        (lambda: CHUNKS[0] + CHUNKS[0] + CHUNKS[2], 1),
        (lambda: CHUNKS[0] + CHUNKS[2] + CHUNKS[2], 1),
        (lambda: CHUNKS[0] + CHUNKS[1] + CHUNKS[1][: len(CHUNKS[2])], 2),
        (lambda: CHUNKS[0] + CHUNKS[1], 2),
        (lambda: BODY[:-1], 2),
        (lambda: BODY[1:], 0),
        (lambda: b"", 0),
    ],
    ids=["reordered", "duplicated", "skipped", "last replaced", "last missing", "cut", "shifted", "empty"],
)
def test_chunks_at_another_place_are_refused_and_those_before_are_all_that_came_out(
    attack: Callable[[], bytes], before: int
) -> None:
    assert released(THREE, attack()) == PLAIN[: before * CHUNK_SIZE]


def test_a_body_cut_at_a_chunk_and_described_as_shorter_is_refused() -> None:
    shorter = stream_of(5, CHUNK_SIZE, CHUNK_SIZE - 5)
    assert released(shorter, CHUNKS[0] + CHUNKS[1]) == PLAIN[:CHUNK_SIZE]


def test_a_body_that_is_continued_is_refused_at_what_was_its_last_chunk() -> None:
    short, longer = stream_of(CHUNK_SIZE), stream_of(CHUNK_SIZE, 7)
    body = sealed(short, PLAIN[:CHUNK_SIZE])
    assert released(longer, body + sealed(longer, PLAIN[: CHUNK_SIZE + 7])[len(body) :]) == b""


@pytest.mark.parametrize("keys", [{"data_key": bytes(32)}, {"root": bytes(32)}], ids=["key", "root hash"])
def test_the_body_of_another_pack_is_refused(keys: Mapping[str, bytes]) -> None:
    assert released(THREE, BODY, **keys) == b""


def test_a_body_whose_bytes_were_bound_to_another_root_hash_is_refused() -> None:
    other = hashlib.sha256(b"other").digest()
    chunk = next(THREE.chunks())
    target = bytearray(CHUNK_SIZE)
    with pytest.raises(DecodeError, match=r"chunk 0 at byte 0: expected .* found bytes that were altered"):
        # The same derived key: the associated data alone tells the two apart.
        StreamCipher(stream_key(DATA_KEY, ROOT), other).open_into(
            chunk, memoryview(bytearray(CHUNKS[0])), memoryview(target)
        )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(BODY) - 1), st.integers(1, 255))
def test_one_flipped_byte_anywhere_is_refused_before_its_chunk_is_released(place: int, flip: int) -> None:
    body = bytearray(BODY)
    body[place] ^= flip
    assert released(THREE, bytes(body)) == PLAIN[: place // SEALED_SIZE * CHUNK_SIZE]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, len(BODY) - 1))
def test_a_body_that_ends_anywhere_is_refused(end: int) -> None:
    assert released(THREE, BODY[:end]) == PLAIN[: end // SEALED_SIZE * CHUNK_SIZE]


def test_what_did_not_authenticate_leaves_zeros() -> None:
    chunk = next(THREE.chunks())
    target = bytearray(b"\xff" * CHUNK_SIZE)
    bad = bytearray(CHUNKS[0])
    bad[-1] ^= 1
    with pytest.raises(DecodeError):
        StreamCipher(stream_key(DATA_KEY, ROOT), ROOT).open_into(chunk, memoryview(bad), memoryview(target))
    assert target == bytes(CHUNK_SIZE)


@given(st.lists(st.integers(1, 3 * CHUNK_SIZE), min_size=1, max_size=12))
def test_parts_follow_one_another_and_cover_every_byte_once(sizes: list[int]) -> None:
    stream = stream_of(*sizes)
    seen, position, offset = dict.fromkeys((file.name for file in stream.files), 0), 0, 0
    chunks = list(stream.chunks())
    for chunk in chunks:
        assert (chunk.offset, chunk.last) == (offset, chunk is chunks[-1])
        assert sum(part.size for part in chunk.parts) == chunk.size <= CHUNK_SIZE
        assert chunk.last or chunk.size == CHUNK_SIZE
        for part in chunk.parts:
            assert (part.offset, part.start) == (seen[part.file.name], position % CHUNK_SIZE)
            seen[part.file.name] += part.size
            position += part.size
        offset += chunk.sealed_size
    assert (position, offset) == (sum(sizes), stream.size)
    assert [file.size for file in stream.files] == list(seen.values())


def test_no_two_chunks_of_a_body_share_a_nonce() -> None:
    one, other = (CHUNKS[index][:16] for index in (0, 1))
    body = sealed(THREE, bytes(THREE.plain_size))
    parts = [body[start : start + 16] for start in range(0, len(body), SEALED_SIZE)]
    assert one != other
    assert all(a != b for a, b in itertools.combinations(parts, 2))


def decoded(**changes: object) -> Model:
    """The model of a deployment document whose stream object is changed like this."""
    document = strictjson.decode(deployment.encode(DEPLOYMENT), what="sample")
    assert isinstance(document, dict)
    name = DEPLOYMENT.model.file
    stream = Stream(files=(StreamFile(name=name, size=9), StreamFile(name=name + ".z", size=CHUNK_SIZE)))
    document["model"] |= {"body": "stream", "stream": {**stream_to_value(stream), **changes}}
    return deployment.decode(strictjson.encode(document)).model


def test_a_model_with_a_stream_survives_its_document() -> None:
    model = decoded()
    assert model.stream is not None
    assert model.body_size == model.stream.size == 9 + CHUNK_SIZE + 2 * TAG_SIZE
    assert DEPLOYMENT.model.body_size == DEPLOYMENT.model.size


def files(*entries: tuple[str, int]) -> list[dict[str, object]]:
    return [{"name": name, "size": size} for name, size in entries]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        # Another size or order of what one key seals would give two plaintexts to one nonce.
        ({"chunk_size": CHUNK_SIZE // 2}, "chunk_size"),
        ({"files": files(("b", 1), ("a", 1)), "size": 18}, "ascending"),
        ({"files": files(("a", 1), ("a", 1)), "size": 18}, "ascending"),
        ({"files": [], "size": 1}, "ascending"),
        ({"files": files(("../a", 1)), "size": 17}, "name"),
        ({"files": files(("a", 0)), "size": 16}, "size"),
        ({"files": files(*((f"{n:04}", 1) for n in range(257))), "size": 273}, "at most 256"),
        ({"files": [{"name": "a", "size": 1, "mode": 7}], "size": 17}, "no other member"),
        ({"files": files(("a", 1)), "size": 17}, "one of the files"),
        ({"size": 1}, "a tag for each chunk"),
        ({"more": 1}, "no other member"),
    ],
)
def test_a_stream_object_that_breaks_its_rules_is_refused(changes: dict[str, object], expected: str) -> None:
    with pytest.raises(DecodeError, match=expected):
        decoded(**changes)


def test_a_body_of_no_known_kind_is_refused() -> None:
    document = strictjson.decode(deployment.encode(DEPLOYMENT), what="sample")
    assert isinstance(document, dict)
    for body, stream in (("tape", {}), ("disk", {"stream": {}}), ("stream", {})):
        altered = {**document, "model": {**document["model"], "body": body, **stream}}
        with pytest.raises(DecodeError):
            deployment.decode(strictjson.encode(altered))


def test_keys_of_another_length_are_not_derived_from() -> None:
    for data_key, root in ((bytes(31), ROOT), (DATA_KEY, bytes(33))):
        with pytest.raises(ValueError, match="32 bytes each"):
            stream_key(data_key, root)
