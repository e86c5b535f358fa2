# SPDX-License-Identifier: Apache-2.0
"""Packing and rekeying killed in the middle, for both bodies, and gone on with by the same command."""

import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mantlet.edge.attack.tiny_gguf import tiny_gguf

pytestmark = [
    pytest.mark.usefixtures("tools"),
    pytest.mark.parametrize("body", ["disk", "stream"]),
    pytest.mark.parametrize("verb", ["pack", "rekey"]),
]

# The command itself, which enters its journal sooner than after 128 MiB, and is then killed by the kernel.
KILLED = """
import os, signal, sys
from mantlet.cli import main
from mantlet.edge import pack_journal
write = pack_journal.write
def write_and_die(path, entry):
    write(path, entry)
    if entry.done:
        os.kill(os.getpid(), signal.SIGKILL)
pack_journal.write, pack_journal._ENTRY_EACH = write_and_die, 4 << 20
sys.exit(main(sys.argv[1:]))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A model, its owner's key, and a finished pack of it under `tiny.key`."""

    folder: Path
    body: str

    def words(self, verb: str, output: str, *, key: str) -> Sequence[str]:
        """The words that write a pack under the data key `key` into the folder `output`."""
        common = ["--owner-key", self.at("owner.key"), "--output", self.at(output)]
        if verb == "pack":
            options = ["--id", "tiny", "--body", self.body, "--key", self.at(key)]
            return ["weights", "pack", self.at("tiny.gguf"), *options, *common]
        options = ["--key", self.at("tiny.key"), "--new-key", self.at(key)]
        return ["weights", "rekey", self.at("made/tiny.json"), *options, *common]

    def run(self, words: Sequence[str], *, killed: bool = False) -> subprocess.CompletedProcess[str]:
        """Run the command, and kill it in the middle if asked to."""
        program = ["-c", KILLED] if killed else ["-m", "mantlet"]
        argv = [sys.executable, *program, *words]
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)

    def at(self, name: str) -> str:
        """The path of a file in the folder."""
        return str(self.folder / name)

    def kill(self, verb: str, output: str, *, key: str) -> Path:
        """Have the command killed in the middle, and return what it left, when it has let go of it."""
        killed = self.run(self.words(verb, output, key=key), killed=True)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        left = self.folder / output / ".tiny.partial"
        assert sorted(path.name for path in left.parent.iterdir()) == [".tiny.partial"]
        deadline = time.monotonic() + 60
        lock = os.open(left, os.O_RDONLY)
        try:
            # Only the death of the processes that worked for it lets go of the lock.
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    assert time.monotonic() < deadline, "orphans of the killed run hold its lock"
                    time.sleep(0.05)
                else:
                    return left
        finally:
            os.close(lock)


@pytest.fixture
def site(tmp_path: Path, body: str) -> Site:
    (tmp_path / "tiny.gguf").write_bytes(tiny_gguf() + hashlib.shake_256(b"large").digest(24 << 20))
    owner = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "owner.key").write_bytes(owner)
    made = Site(folder=tmp_path, body=body)
    done = made.run(made.words("pack", "made", key="tiny.key"))
    assert done.returncode == 0, done.stderr
    return made


def test_a_killed_run_is_gone_on_with_and_gives_the_bytes_of_one_that_was_not(site: Site, verb: str) -> None:
    site.kill(verb, "out", key="new.key")
    resumed = site.run(site.words(verb, "out", key="new.key"))
    assert resumed.returncode == 0, resumed.stderr
    assert "Going on where an earlier run stopped" in resumed.stderr
    whole = site.run(site.words("pack", "whole", key="new.key"))
    assert whole.returncode == 0, whole.stderr
    names = ["tiny.json", "tiny.raw"]
    assert sorted(path.name for path in (site.folder / "out").iterdir()) == names
    for name in names:
        one, other = (site.folder / folder / name for folder in ("out", "whole"))
        assert one.read_bytes() == other.read_bytes()


def test_what_a_killed_run_wrote_is_not_written_again(site: Site, verb: str) -> None:
    left = site.kill(verb, "out", key="new.key")
    place = (1 << 20) + 5
    with (left / "disk").open("r+b") as file:
        spoilt = bytes([os.pread(file.fileno(), 1, place)[0] ^ 1])
        os.pwrite(file.fileno(), spoilt, place)
    assert site.run(site.words(verb, "out", key="new.key")).returncode == 0
    assert (site.folder / "out/tiny.raw").read_bytes()[place : place + 1] == spoilt


def test_a_killed_run_is_not_gone_on_with_under_another_key(site: Site, verb: str) -> None:
    site.kill(verb, "out", key="new.key")
    again = site.run(site.words(verb, "out", key="newer.key"))
    assert again.returncode == 0, again.stderr
    assert "Going on where" not in again.stderr
    words = ["weights", "verify", site.at("out/tiny.json"), "--owner-key", site.at("owner.key")]
    assert site.run([*words, "--key", site.at("newer.key")]).returncode == 0
