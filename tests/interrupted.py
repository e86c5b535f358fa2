# SPDX-License-Identifier: Apache-2.0
"""Commands that the kernel kills in the middle, as a loss of power would."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A folder with an owner's key, in which packs of one body are made and opened."""

    folder: Path
    body: str

    def at(self, name: str) -> str:
        """The path of a file in the folder."""
        return str(self.folder / name)

    def make_owner(self) -> None:
        """Write `owner.key`, the key of whoever signs packs here."""
        owner = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (self.folder / "owner.key").write_bytes(owner)

    def pack(self, source: str, output: str, *, key: str) -> Sequence[str]:
        """The words that pack a model under the data key `key` into the folder `output`."""
        options = ["--id", "tiny", "--body", self.body, "--key", self.at(key)]
        common = ["--owner-key", self.at("owner.key"), "--output", self.at(output)]
        return ["weights", "pack", self.at(source), *options, *common]

    def run(self, words: Sequence[str], *, program: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run the command, as this program if one is given."""
        how = ["-m", "mantlet"] if program is None else ["-c", program]
        argv = [sys.executable, *how, *words]
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)

    def succeed(self, words: Sequence[str]) -> str:
        """Run the command to its end, and return what it said on stderr."""
        done = self.run(words)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def kill(self, words: Sequence[str], left: Path, *, program: str) -> Path:
        """Run a program that kills itself; return `left`, all that it left, when it has let go of it."""
        killed = self.run(words, program=program)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert list(left.parent.iterdir()) == [left]
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
