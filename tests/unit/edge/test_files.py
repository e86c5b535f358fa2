# SPDX-License-Identifier: Apache-2.0
"""A name never stands for half a file."""

import stat
import threading
from pathlib import Path

import pytest

from mantlet.edge import files
from mantlet_measure.errors import DecodeError


def test_a_file_larger_than_the_limit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(11))
    with pytest.raises(DecodeError, match="at most 10 bytes"):
        files.read(tmp_path / "big", limit=10, what="manifest")


def test_a_written_file_has_its_mode_whatever_stood_there(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"old")
    path.chmod(0o644)
    files.write_atomic(path, b"new", mode=0o600)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_write_that_fails_leaves_the_old_content_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "document"
    path.write_bytes(b"old")
    with pytest.raises(TypeError):
        files.write_atomic(path, "not bytes")  # type: ignore[arg-type]  # the failure that the test needs
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["document"]


def test_a_leftover_of_an_interrupted_write_does_not_stop_the_next(tmp_path: Path) -> None:
    (tmp_path / ".document.partial").write_bytes(b"half")
    files.write_atomic(tmp_path / "document", b"whole")
    assert [entry.name for entry in tmp_path.iterdir()] == ["document"]


def test_a_link_moves_in_one_step(tmp_path: Path) -> None:
    for target in ("first", "second"):
        files.link_atomic(tmp_path / "latest", target)
        assert (tmp_path / "latest").readlink() == Path(target)


def test_a_finished_directory_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    for content in ("old", "new"):
        partial = files.new_directory(tmp_path / ".build.partial")
        (partial / "disk").write_text(content)
        files.replace_directory(tmp_path / "build", partial)
    assert (tmp_path / "build" / "disk").read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["build"]


def test_a_second_holder_of_a_lock_waits_and_says_so(tmp_path: Path) -> None:
    told = threading.Event()

    def second() -> None:
        with files.alone(tmp_path / "lock", wait=told.set):
            pass

    waiting = threading.Thread(target=second)
    with files.alone(tmp_path / "lock", wait=lambda: pytest.fail("nobody else holds it")):
        waiting.start()
        assert told.wait(10)
        waiting.join(0.1)
        assert waiting.is_alive()
    waiting.join(10)
    assert not waiting.is_alive()
