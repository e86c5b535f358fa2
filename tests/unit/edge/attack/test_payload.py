# SPDX-License-Identifier: Apache-2.0
"""The payload runs here, in a process of its own, and is driven through its page as in a machine."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mantlet.edge.attack import payload
from mantlet.edge.attack.escape_calls import Call
from mantlet.edge.attack.escape_files import AT_FDCWD
from mantlet.edge.attack.escape_process import Captive, Room, Vector


def test_a_call_is_made_by_the_taken_process(host: subprocess.Popen[bytes], captive: Captive) -> None:
    assert captive.call(Call.GETPID).value == host.pid


def test_a_refused_call_comes_back_with_its_error(captive: Captive) -> None:
    assert captive.call(Call.OPENAT, AT_FDCWD, b"/nonexistent\0", os.O_RDONLY).value == -errno.ENOENT


def test_rooms_come_back_with_what_the_kernel_put_there(captive: Captive, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    opened = captive.call(Call.OPENAT, AT_FDCWD, bytes(tmp_path / "file") + b"\0", os.O_RDONLY).value
    reply = captive.call(Call.READ, opened, Room(32), 32)
    assert reply.value == 7
    assert reply.rooms[0][:7] == b"content"


def test_a_program_started_in_a_child_ends_with_its_own_code(captive: Captive) -> None:
    words = (sys.executable.encode(), b"-c", b"raise SystemExit(77)")
    end = captive.call_in_child(Call.EXECVE, words[0] + b"\0", Vector(words), Vector(()))
    assert end.result is None
    assert end.status is not None
    assert os.waitstatus_to_exitcode(end.status) == 77


def test_a_program_that_does_not_start_leaves_its_error(captive: Captive) -> None:
    end = captive.call_in_child(Call.EXECVE, b"/etc/passwd\0", Vector((b"x",)), Vector(()))
    assert end.result == -errno.EACCES
    assert end.status == 0


def test_many_calls_one_after_the_other(captive: Captive) -> None:
    assert {captive.call(Call.GETUID).value for _ in range(50)} == {os.getuid()}


def test_more_arguments_than_the_page_holds_are_refused(captive: Captive) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        captive.call(Call.WRITE, 1, bytes(payload.PAGE_SIZE), payload.PAGE_SIZE)


def test_the_function_returns_with_an_error_to_who_called_it(
    host: subprocess.Popen[bytes], captive: Captive
) -> None:
    assert captive.call(Call.GETPID).value == host.pid
    captive.leave()
    assert host.wait(60) == 55


def test_a_fault_ends_the_process(host: subprocess.Popen[bytes], captive: Captive) -> None:
    captive.fault()
    assert host.wait(60) == -signal.SIGSEGV
