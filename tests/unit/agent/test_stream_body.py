# SPDX-License-Identifier: Apache-2.0
"""The stream body as the agent opens it: a real tmpfs in its own mount namespace, a file for the disk."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from mantlet_agent.configuration import find_weights
from mantlet_agent.places import Places
from mantlet_agent.stages import Code, StageError
from mantlet_measure import strictjson
from mantlet_measure.body import CHUNK_SIZE, TAG_SIZE, Stream
from mantlet_measure.deployment import Deployment, Model, model_to_value
from tests.streams import DATA_KEY, ROOT, content, sealed, stream_of

STREAM = stream_of(7, 3 * CHUNK_SIZE, 2 * CHUNK_SIZE + 1)
SEALED_SIZE = CHUNK_SIZE + TAG_SIZE
# Here is no block device of ours; a file is opened in its place, and everything else is as it is.
OPENER = r"""
import hashlib, json, os, resource, sys
from contextlib import contextmanager
from pathlib import Path
from mantlet_agent import block, launch
from mantlet_agent.places import Places
from mantlet_agent.stages import StageError
from mantlet_agent.configuration import find_weights
from mantlet_agent.places import Places
from mantlet_agent.stages import Code, StageError
from mantlet_measure import strictjson
from mantlet_measure.deployment import model_from_fields
from mantlet_measure.strictjson import Fields

@contextmanager
def plain_file(partition, flags):
    descriptor = os.open(partition.node, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)

block._opened = plain_file
root = Path(sys.argv[1])
places = Places(root=root)
places.private.mkdir(parents=True)
disk = root / "disk"
partition = block.Partition(node=disk, major=0, minor=0, size=disk.stat().st_size)
model = model_from_fields(Fields(strictjson.decode((root / "model").read_bytes(), what="model"), "model"))
key = bytearray((root / "key").read_bytes())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    launch.open_weights(places, partition, model, key)
    code = "ok"
except StageError as error:
    code = error.code.value
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
try:
    (places.weights / "new").touch()
    writable = True
except OSError:
    writable = False
print(json.dumps({
    "code": code,
    "options": next((line[3] for line in mounts if line[1] == str(places.weights)), ""),
    "writable": writable and code == "ok",
    "key": bytes(key).hex(),
    "grown": grown << 10,
    "files": {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in places.weights.glob("*")
        if path.name != "new"
    },
}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What the agent left."""

    code: str
    options: str
    writable: bool
    key: str
    grown: int
    files: dict[str, str]


def model_of(stream: Stream) -> Model:
    return Model(
        id="tiny",
        version="1",
        epoch=1,
        file=stream.files[0].name,
        root_hash=ROOT,
        salt=bytes(32),
        data_blocks=2,
        hash_offset=8192,
        size=12288,
        stream=stream,
    )


def open_body(folder: Path, stream: Stream, body: bytes) -> Opened:
    (folder / "disk").write_bytes(body)
    (folder / "key").write_bytes(DATA_KEY)
    (folder / "model").write_bytes(strictjson.encode(model_to_value(model_of(stream))))
    namespace = ("unshare", "--mount") if os.geteuid() == 0 else ("unshare", "--map-root-user", "--mount")
    done = subprocess.run(
        [*namespace, sys.executable, "-c", OPENER, str(folder)], capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()
    return Opened(**json.loads(done.stdout))


def digests(stream: Stream, plain: bytes) -> dict[str, str]:
    found, start = {}, 0
    for file in stream.files:
        found[file.name] = hashlib.sha256(plain[start : start + file.size]).hexdigest()
        start += file.size
    return found


def test_a_body_becomes_files_in_huge_pages_that_nobody_can_write(tmp_path: Path) -> None:
    plain = content(STREAM.plain_size)
    # A partition is longer than the body, by the rest of its last sector.
    opened = open_body(tmp_path, STREAM, sealed(STREAM, plain) + bytes(4096))
    assert opened.code == "ok"
    assert opened.files == digests(STREAM, plain)
    assert {"ro", "nosuid", "nodev", "noexec", "huge=always"} <= set(opened.options.split(","))
    assert not opened.writable


def test_the_data_key_is_gone_when_the_files_stand(tmp_path: Path) -> None:
    assert open_body(tmp_path, STREAM, sealed(STREAM, content(STREAM.plain_size))).key == "00" * 32


@pytest.mark.parametrize("place", [0, SEALED_SIZE - 1, SEALED_SIZE, 3 * SEALED_SIZE + 99, STREAM.size - 1])
def test_a_flipped_byte_leaves_nothing_mounted_and_no_key(tmp_path: Path, place: int) -> None:
    body = bytearray(sealed(STREAM, content(STREAM.plain_size)))
    body[place] ^= 0x40
    opened = open_body(tmp_path, STREAM, bytes(body))
    assert (opened.code, opened.options, opened.files) == ("weights-corrupt", "", {})
    assert opened.key == "00" * 32


def test_a_body_that_is_cut_leaves_nothing_mounted(tmp_path: Path) -> None:
    opened = open_body(tmp_path, STREAM, sealed(STREAM, content(STREAM.plain_size))[:-1])
    assert (opened.code, opened.options, opened.files) == ("weights-corrupt", "", {})


def test_a_model_larger_than_the_memory_is_refused_before_it_is_read(tmp_path: Path) -> None:
    opened = open_body(tmp_path, stream_of(1 << 45), b"")
    assert (opened.code, opened.options, opened.files) == ("mapping-failed", "", {})


def test_opening_takes_no_memory_but_that_of_the_files(tmp_path: Path) -> None:
    stream = stream_of(96 << 20)
    opened = open_body(tmp_path, stream, sealed(stream, content(stream.plain_size)))
    assert opened.code == "ok"
    assert opened.grown <= 16 << 20


@pytest.mark.parametrize(
    ("change", "code"), [(0, None), (-1, Code.WEIGHTS_TRUNCATED), (1, Code.WEIGHTS_GROWN)]
)
def test_a_partition_that_is_not_exactly_the_body_is_refused(
    tmp_path: Path, change: int, code: Code | None
) -> None:
    places, model = Places(root=tmp_path), model_of(STREAM)
    entry = places.block / "vdb1"
    entry.mkdir(parents=True)
    (entry / "uevent").write_text(
        "MAJOR=254\nMINOR=17\nDEVNAME=vdb1\nDEVTYPE=partition\nPARTNAME=mantlet-weights\n"
    )
    sectors = -(-STREAM.size // 4096) * 8 + change
    (entry / "size").write_text(f"{sectors}\n")
    document = Deployment(
        id="demo",
        image_id="mantlet",
        image_version="1",
        manifest_sha256=bytes(32),
        model=model,
        policy_key=b"\x00\x0b" + b"p" * 32,
        runtime="llama-server",
    )
    if code is None:
        found = find_weights(places, document)
        assert found is not None
        assert found.size == sectors * 512
        return
    with pytest.raises(StageError) as refusal:
        find_weights(places, document)
    assert refusal.value.code is code
