# SPDX-License-Identifier: Apache-2.0
"""Extracting killed in the middle, for both bodies, and gone on with by the same command.

Nothing that the killed run left is believed: it is held against the pack.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from mantlet.edge import extraction
from mantlet.edge.attack.tiny_gguf import tiny_gguf
from mantlet.edge.stream_extract import _TAGS
from mantlet.weights.disk import PARTITION_OFFSET
from mantlet_measure.body import CHUNK_SIZE, TAG_SIZE
from tests.interrupted import Site

pytestmark = [
    pytest.mark.usefixtures("tools"),
    pytest.mark.parametrize("body", ["disk", "stream"], scope="module"),
]

# The command itself, which is killed by the kernel when a third of the model is written.
KILLED = """
import os, signal, sys
from contextlib import contextmanager
from mantlet.cli import main
from mantlet.edge import output, pack_extract
progress = output.progress
@contextmanager
def deadly(label, total):
    done = 0
    def advance(size):
        nonlocal done
        done += size
        if label == "Extracting" and done > total // 3:
            os.kill(os.getpid(), signal.SIGKILL)
    with progress(label, total):
        yield advance
output.progress, pack_extract.CHUNK = deadly, 1 << 20
sys.exit(main(sys.argv[1:]))
"""
SHARD = "model-00001-of-00002.gguf"
FILES = {
    SHARD: tiny_gguf() + hashlib.shake_256(b"1").digest(23 << 20),
    "model-00002-of-00002.gguf": b"GGUF" + hashlib.shake_256(b"2").digest((7 << 20) + 123),
    "tokenizer.json": b"{}",
}


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory, body: str) -> Site:
    """A model of several files, and a pack of it in `made`, under `tiny.key`."""
    made = Site(folder=tmp_path_factory.mktemp("packed"), body=body)
    made.make_owner()
    write(made.folder / "model", FILES)
    made.succeed(made.pack("model", "made", key="tiny.key"))
    return made


@pytest.fixture
def site(packed: Site, tmp_path: Path) -> Site:
    """A copy of it, to be treated badly."""
    shutil.copytree(packed.folder, tmp_path, dirs_exist_ok=True)
    return Site(folder=tmp_path, body=packed.body)


@pytest.fixture
def left(site: Site) -> Path:
    """What the killed run left."""
    return site.kill(words(site), site.folder / "out" / ".tiny.extracting", program=KILLED)


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)


def words(site: Site) -> Sequence[str]:
    """The words that extract the pack in `made` into `out`."""
    options = ["--owner-key", site.at("owner.key"), "--key", site.at("tiny.key")]
    return ["weights", "extract", site.at("made/tiny.json"), *options, "--output", site.at("out")]


def extracted(site: Site) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (site.folder / "out").iterdir()}


def alter(path: Path, place: int, data: bytes) -> None:
    with path.open("r+b") as file:
        os.pwrite(file.fileno(), data, place)


def kept(said: str) -> int:
    """How many bytes the second run took up, by its own words."""
    line = next(line for line in said.splitlines() if "Going on where an earlier run stopped" in line)
    return int(line.split("stopped: ")[1].split(" ")[0].replace(",", ""))


def test_a_killed_run_is_gone_on_with_and_gives_the_bytes_of_the_model(site: Site, left: Path) -> None:
    assert (left / SHARD).read_bytes() != FILES[SHARD]
    total = sum(map(len, FILES.values()))
    assert total // 4 < kept(site.succeed(words(site))) < total
    assert extracted(site) == FILES


def test_one_file_is_gone_on_with_too(site: Site) -> None:
    shutil.rmtree(site.folder / "made")
    site.succeed(site.pack(f"model/{SHARD}", "made", key="tiny.key"))
    left = site.kill(words(site), site.folder / "out" / ".tiny.extracting", program=KILLED)
    assert (left / SHARD).read_bytes() != FILES[SHARD]
    assert kept(site.succeed(words(site))) > len(FILES[SHARD]) // 4
    assert extracted(site) == {SHARD: FILES[SHARD]}


@pytest.mark.usefixtures("left")
def test_what_a_killed_run_wrote_is_not_taken_from_the_pack_again(site: Site) -> None:
    # Whoever reads this place of the pack refuses it: the last byte of the first megabyte of the first file.
    alter(site.folder / "made" / "tiny.raw", PARTITION_OFFSET + CHUNK_SIZE - 1, b"spoilt")
    site.succeed(words(site))
    assert extracted(site) == FILES


@pytest.mark.usefixtures("left")
def test_a_pack_that_is_damaged_where_the_killed_run_had_not_come_is_refused(site: Site) -> None:
    alter(site.folder / "made" / "tiny.raw", PARTITION_OFFSET + (27 << 20), b"spoilt")
    assert site.run(words(site)).returncode == 1
    assert extracted(site) == {}


@pytest.mark.parametrize("place", [0, 4096, 3 << 20, -1])
def test_what_was_altered_since_is_written_again(site: Site, left: Path, place: int) -> None:
    byte = FILES[SHARD][place]
    alter(left / SHARD, place % len(FILES[SHARD]), bytes([byte ^ 1]))
    assert kept(site.succeed(words(site))) > 0
    assert extracted(site) == FILES


def test_a_part_of_the_model_at_another_place_is_not_taken_for_whole(site: Site, left: Path) -> None:
    alter(left / SHARD, 0, FILES[SHARD][CHUNK_SIZE : 2 * CHUNK_SIZE])
    if site.body == "stream":
        alter(left / _TAGS, 0, (left / _TAGS).read_bytes()[TAG_SIZE : 2 * TAG_SIZE])
    site.succeed(words(site))
    assert extracted(site) == FILES


@pytest.mark.parametrize("size", [0, 1000, 64 << 20])
def test_files_that_were_cut_or_continued_since_have_their_size_again(
    site: Site, left: Path, size: int
) -> None:
    for name in FILES:
        os.truncate(left / name, size)
    site.succeed(words(site))
    assert extracted(site) == FILES


@pytest.mark.usefixtures("left")
def test_what_another_pack_of_the_same_name_left_is_made_anew(site: Site) -> None:
    shutil.rmtree(site.folder / "made")
    other = {SHARD: FILES[SHARD][::-1], "vocabulary.json": b"[]"}
    other[SHARD] = b"GGUF" + other[SHARD]
    write(site.folder / "other", other)
    site.succeed(site.pack("other", "made", key="tiny.key"))
    assert "Going on where" not in site.succeed(words(site))
    assert extracted(site) == other


def test_what_no_file_of_the_pack_is_called_takes_no_room(left: Path) -> None:
    (left / "vocabulary.json").write_bytes(b"[]")
    sizes = {name: len(data) for name, data in FILES.items()}
    with extraction.begun(left.parent, "tiny", sizes) as place:
        assert place.resumed
        assert sorted(path.name for path in place.folder.iterdir()) == sorted(FILES)


def test_the_room_that_a_killed_run_took_is_room_for_the_next(site: Site) -> None:
    (site.folder / "out").mkdir()
    # Room for the files once, and not for half of them more.
    script = (
        'mount -t tmpfs -o size=33m tmpfs "$0" || exit 9; python=$1; killed=$2; shift 2; '
        '"$python" -c "$killed" "$@"; "$python" -m mantlet "$@" && sha256sum "$0"/*'
    )
    namespace = ("unshare", "--mount") if os.geteuid() == 0 else ("unshare", "--map-root-user", "--mount")
    argv = [*namespace, "sh", "-c", script, site.at("out"), sys.executable, KILLED, *words(site)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert kept(done.stderr) > 0
    for name, data in FILES.items():
        assert f"{hashlib.sha256(data).hexdigest()}  {site.at('out')}/{name}" in done.stdout


def test_links_that_stand_for_files_are_not_followed(site: Site, left: Path) -> None:
    outside = site.folder / "outside"
    outside.write_bytes(b"outside")
    for name in (SHARD, _TAGS):
        (left / name).unlink(missing_ok=True)
        (left / name).symlink_to(outside)
    site.succeed(words(site))
    assert extracted(site) == FILES
    assert not any(path.is_symlink() for path in (site.folder / "out").iterdir())
    assert outside.read_bytes() == b"outside"


def test_two_runs_into_one_directory_do_not_meet(site: Site, left: Path) -> None:
    lock = os.open(left, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused = site.run(words(site))
    finally:
        os.close(lock)
    assert refused.returncode == 3
    assert "another run writes this model into the same directory" in refused.stderr
    site.succeed(words(site))
    assert extracted(site) == FILES
