# SPDX-License-Identifier: Apache-2.0
"""The list of what may run and start, and the judgement of what does, over a /proc that is a folder."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from mantlet_agent.fuse_list import Watched, decode
from mantlet_agent.proc_events import Happening, ProcEvent
from mantlet_measure import strictjson
from mantlet_measure.errors import DecodeError
from mantlet_measure.words import FuseKind

ROOT = Path(__file__).resolve().parents[3]
COMMITTED: dict[str, Any] = yaml.safe_load((ROOT / "policies/fuse.yaml").read_text())
FRONT = "/system.slice/mantlet-front.service"
UDEV = "/system.slice/systemd-udevd.service"
RUNTIME = r"/system.slice/system-mantlet\x2druntime.slice/mantlet-runtime@smollm2-135m.service"
KERNEL_THREAD = 0x00208040


class Proc:
    """A folder of processes, and the judge over the committed list."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.serving = False
        groups = decode(strictjson.encode(COMMITTED))
        self.watched = Watched(groups, proc=folder, serving=lambda: self.serving)

    def process(self, number: int, group: str, name: str, *, state: str = "S", flags: int = 0x400000) -> None:
        place = self.folder / str(number)
        place.mkdir(exist_ok=True)
        (place / "cgroup").write_text(f"0::{group}\n")
        (place / "comm").write_text(f"{name}\n")
        (place / "stat").write_text(f"{number} ({name}) {state} 1 1 1 0 -1 {flags} 0 0\n")

    def does(self, happening: Happening, number: int, group: str, name: str) -> FuseKind | None:
        self.process(number, group, name)
        return self.watched.judge(ProcEvent(happening=happening, process=number))

    def executes(self, number: int, group: str, name: str) -> FuseKind | None:
        return self.does(Happening.EXEC, number, group, name)


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    return Proc(tmp_path)


def start_front(proc: Proc) -> None:
    assert proc.executes(193, FRONT, "9") is None
    for happening in (Happening.SID, Happening.GID, Happening.UID):
        assert proc.does(happening, 193, FRONT, "(nginx)") is None
    assert proc.executes(193, FRONT, "nginx") is None


def test_a_unit_of_the_list_starts_by_systemds_executor_and_becomes_its_user(proc: Proc) -> None:
    start_front(proc)


def test_a_runtime_starts_whatever_its_model_is_called(proc: Proc) -> None:
    assert proc.executes(208, RUNTIME, "9") is None
    assert proc.does(Happening.UID, 210, RUNTIME, "(sd-pidns-child") is None
    assert proc.executes(210, RUNTIME, "llama-server") is None


@pytest.mark.parametrize("name", ["nginx", "9", "sh"])
def test_a_program_that_starts_in_a_unit_that_has_started_burns(proc: Proc, name: str) -> None:
    start_front(proc)
    assert proc.executes(300, FRONT, name) is FuseKind.PROGRAM


def test_a_shell_that_starts_before_the_units_own_program_burns(proc: Proc) -> None:
    assert proc.executes(193, FRONT, "9") is None
    assert proc.executes(193, FRONT, "sh") is FuseKind.PROGRAM


@pytest.mark.parametrize(
    ("group", "name"),
    [
        ("/system.slice/serial-getty@ttyS0.service", "agetty"),
        ("/system.slice/ssh.service", "sshd"),
        ("/user.slice/user-0.slice/session-1.scope", "bash"),
        (f"{UDEV}/workers", "sh"),
        (f"{UDEV}/workers", "(udev-worker)"),
        ("/init.scope", "systemd-shutdow"),
        ("/", "modprobe"),
        ("/system.slice/evil.slice/mantlet-front.service", "nginx"),
        ("/system.slice/mantlet-front@.service", "nginx"),
    ],
)
def test_a_program_outside_the_list_burns(proc: Proc, group: str, name: str) -> None:
    assert proc.executes(300, group, name) is FuseKind.PROGRAM


def test_once_the_machine_serves_nothing_may_start(proc: Proc) -> None:
    proc.serving = True
    assert proc.executes(300, "/system.slice/mantlet-boot.service", "systemctl") is FuseKind.PROGRAM


def test_a_program_that_is_gone_when_it_is_looked_at_burns(proc: Proc) -> None:
    event = ProcEvent(happening=Happening.EXEC, process=4711)
    assert proc.watched.judge(event) is FuseKind.PROGRAM


@pytest.mark.parametrize(
    ("happening", "kind"),
    [
        (Happening.UID, FuseKind.IDENTITY),
        (Happening.GID, FuseKind.IDENTITY),
        (Happening.SID, FuseKind.SESSION),
    ],
)
def test_a_process_of_a_started_unit_that_changes_who_it_is_burns(
    proc: Proc, happening: Happening, kind: FuseKind
) -> None:
    start_front(proc)
    assert proc.does(happening, 193, FRONT, "nginx") is kind


def test_a_debugger_that_attaches_burns_even_while_units_start(proc: Proc) -> None:
    assert proc.does(Happening.PTRACE, 193, FRONT, "nginx") is FuseKind.TRACE


def test_what_runs_when_the_watch_begins_is_on_the_list(proc: Proc) -> None:
    proc.process(1, "/init.scope", "systemd")
    proc.process(2, "/", "kthreadd", flags=KERNEL_THREAD)
    proc.process(149, "/system.slice/systemd-journald.service", "systemd-journal")
    proc.process(152, f"{UDEV}/udev", "systemd-udevd")
    proc.process(173, f"{UDEV}/workers", "(udev-worker)")
    proc.process(160, "/system.slice/mantlet-boot.service", "(python3)")
    proc.process(172, "/system.slice/mantlet-fuse.service", "python3")
    # A program that has ended cannot do anything any more.
    proc.process(180, "/system.slice/gone.service", "x) R 1", state="Z")
    (proc.folder / "sys").mkdir()
    assert proc.watched.present() is None


@pytest.mark.parametrize(
    ("group", "name"),
    [
        ("/system.slice/serial-getty@ttyS0.service", "agetty"),
        (f"{UDEV}/workers", "sh"),
        ("/", "kthreadd"),
        ("/init.scope", "sh) S 1 1 1 0 -1 2129984 0 0 ("),
    ],
)
def test_a_login_that_is_there_when_the_watch_begins_burns(proc: Proc, group: str, name: str) -> None:
    proc.process(1, "/init.scope", "systemd")
    proc.process(170, group, name)
    assert proc.watched.present() is FuseKind.PRESENT


BROKEN: list[dict[str, Any]] = [
    {"format": "mantlet-fuse/v2"},
    {"groups": [*COMMITTED["groups"], COMMITTED["groups"][0]]},
    {"groups": [{"path": "init.scope", "programs": ["x"], "starts": 0}]},
    {"groups": [{"path": "/a", "programs": ["x/y"], "starts": 0}]},
    {"groups": [{"path": "/a", "programs": [7], "starts": 0}]},
    {"groups": [{"path": "/a", "programs": ["x"], "starts": -1}]},
    {"groups": [{"path": "/a", "programs": ["x"]}]},
    {"more": 1},
]


@pytest.mark.parametrize("broken", BROKEN, ids=str)
def test_a_list_that_breaks_its_format_is_refused(broken: dict[str, Any]) -> None:
    value = copy.deepcopy(COMMITTED) | broken
    with pytest.raises(DecodeError):
        decode(strictjson.encode(value))
