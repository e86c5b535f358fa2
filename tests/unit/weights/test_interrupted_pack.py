# SPDX-License-Identifier: Apache-2.0
"""Packing and rekeying killed in the middle, for both bodies, and gone on with by the same command."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from mantlet.edge.attack.tiny_gguf import tiny_gguf
from tests.interrupted import Site

pytestmark = [
    pytest.mark.usefixtures("tools"),
    pytest.mark.parametrize("body", ["disk", "stream"]),
    pytest.mark.parametrize("verb", ["pack", "rekey"]),
]

# The command itself, which enters its journal sooner than after 128 MiB, and is then killed by the kernel.
# Each entry is made at once: beside the work, none but the first might be made before all is written.
KILLED = """
import os, signal, sys
from concurrent.futures import Future
from contextlib import contextmanager
from mantlet.cli import main
from mantlet.edge import pack_journal
class AtOnce:
    def submit(self, work, *arguments):
        done = Future()
        done.set_result(work(*arguments))
        return done
@contextmanager
def at_once(max_workers):
    yield AtOnce()
write = pack_journal.write
def write_and_die(path, entry):
    write(path, entry)
    if entry.done:
        os.kill(os.getpid(), signal.SIGKILL)
pack_journal.write, pack_journal._ENTRY_EACH = write_and_die, 4 << 20
pack_journal.ThreadPoolExecutor = at_once
sys.exit(main(sys.argv[1:]))
"""


def words(site: Site, verb: str, output: str, *, key: str) -> Sequence[str]:
    """The words that write a pack under the data key `key` into the folder `output`."""
    if verb == "pack":
        return site.pack("tiny.gguf", output, key=key)
    options = ["--key", site.at("tiny.key"), "--new-key", site.at(key)]
    common = ["--owner-key", site.at("owner.key"), "--output", site.at(output)]
    return ["weights", "rekey", site.at("made/tiny.json"), *options, *common]


def kill(site: Site, verb: str) -> Path:
    """Have the command killed in the middle, and return what it left."""
    left = site.folder / "out" / ".tiny.partial"
    return site.kill(words(site, verb, "out", key="new.key"), left, program=KILLED)


@pytest.fixture
def site(tmp_path: Path, body: str) -> Site:
    """A model, its owner's key, and a finished pack of it under `tiny.key`."""
    made = Site(folder=tmp_path, body=body)
    (tmp_path / "tiny.gguf").write_bytes(tiny_gguf() + hashlib.shake_256(b"large").digest(24 << 20))
    made.make_owner()
    made.succeed(made.pack("tiny.gguf", "made", key="tiny.key"))
    return made


def test_a_killed_run_is_gone_on_with_and_gives_the_bytes_of_one_that_was_not(site: Site, verb: str) -> None:
    kill(site, verb)
    said = site.succeed(words(site, verb, "out", key="new.key"))
    assert "Going on where an earlier run stopped" in said
    site.succeed(site.pack("tiny.gguf", "whole", key="new.key"))
    names = ["tiny.json", "tiny.raw"]
    assert sorted(path.name for path in (site.folder / "out").iterdir()) == names
    for name in names:
        one, other = (site.folder / folder / name for folder in ("out", "whole"))
        assert one.read_bytes() == other.read_bytes()


def test_what_a_killed_run_wrote_is_not_written_again(site: Site, verb: str) -> None:
    left = kill(site, verb)
    place = (1 << 20) + 5
    with (left / "disk").open("r+b") as file:
        spoilt = bytes([os.pread(file.fileno(), 1, place)[0] ^ 1])
        os.pwrite(file.fileno(), spoilt, place)
    site.succeed(words(site, verb, "out", key="new.key"))
    assert (site.folder / "out/tiny.raw").read_bytes()[place : place + 1] == spoilt


def test_a_killed_run_is_not_gone_on_with_under_another_key(site: Site, verb: str) -> None:
    kill(site, verb)
    assert "Going on where" not in site.succeed(words(site, verb, "out", key="newer.key"))
    verify = ["weights", "verify", site.at("out/tiny.json"), "--owner-key", site.at("owner.key")]
    site.succeed([*verify, "--key", site.at("newer.key")])
