# SPDX-License-Identifier: Apache-2.0
"""Small files: what is no plain file of the right owner and size is not read; nothing is half written."""

import os
import stat
import threading
from itertools import islice
from pathlib import Path

import pytest

from mantlet_agent import files, inbox
from mantlet_measure.errors import DecodeError


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x"
    files.write(path, b"one", mode=0o640)
    files.write(path, b"two", mode=0o640)
    assert files.read(path, limit=3, owner=os.getuid()) == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


def test_a_file_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(1001))
    with pytest.raises(DecodeError):
        files.read(tmp_path / "x", limit=1000)


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "x").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match="symbolic links"):
        files.read(tmp_path / "x", limit=1000)


def test_a_pipe_in_a_files_place_is_refused_and_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x")
    with pytest.raises(DecodeError):
        files.read(tmp_path / "x", limit=1000)


def test_a_file_of_another_owner_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    with pytest.raises(DecodeError):
        files.read(tmp_path / "x", limit=1000, owner=os.getuid() + 1)


def test_a_link_planted_where_the_draft_goes_is_replaced_and_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"untouched")
    (tmp_path / ".x.new").symlink_to(victim)
    files.write(tmp_path / "x", b"new", mode=0o644)
    assert victim.read_bytes() == b"untouched"
    assert (tmp_path / "x").read_bytes() == b"new"


def test_each_blob_of_the_inbox_is_given_once(tmp_path: Path) -> None:
    path = tmp_path / "sealed-key.json"
    inbox.put(path, b"first")
    arrivals = inbox.arrivals(path, owner=os.getuid())
    assert next(arrivals) == b"first"
    later = threading.Timer(0.3, inbox.put, (path, b"second"))
    later.start()
    assert list(islice(arrivals, 1)) == [b"second"]
    later.join()
