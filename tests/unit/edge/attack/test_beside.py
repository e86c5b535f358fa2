# SPDX-License-Identifier: Apache-2.0
"""Tests of the servers beside a machine: their life, the scan of ports, and what a shared folder tells."""

import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from mantlet.edge.attack import shares, vsock
from mantlet.edge.attack.beside import BesideError, Server
from mantlet.edge.attack.pace import Pace
from mantlet.edge.attack.scene import CannotTryError, Scene


@dataclass
class Here:
    """What a probe here asks of a scene."""

    folder: Path
    pace: Pace


class Host:
    """The tools of this host, without a sandbox."""

    def command(self, argv: Any, **_folders: object) -> list[str]:
        return list(argv)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return cast("Scene", Here(folder=tmp_path, pace=Pace(limit=0.3)))


def server(folder: Path, *script: str) -> Server:
    return Server(argv=("sh", "-c", *script), socket=folder / "x.socket", words=())


def test_a_server_runs_as_long_as_it_is_wanted(tmp_path: Path) -> None:
    wanted = server(tmp_path, f"touch {tmp_path}/x.socket; sleep 60; touch {tmp_path}/late")
    with wanted.running(cast("Any", Host())):
        assert wanted.socket.exists()
    assert not (tmp_path / "late").exists()


def test_a_server_that_does_not_come_up_says_why(tmp_path: Path) -> None:
    wanted = server(tmp_path, "echo no memory; exit 1")
    with pytest.raises(BesideError, match="no memory"), wanted.running(cast("Any", Host())):
        pass


class Guest:
    """Who answers behind the entrance: some ports accept, others refuse; or nobody is there."""

    def __init__(self, entrance: Path, *, accepts: tuple[int, ...], there: bool = True) -> None:
        self.asked: list[int] = []
        self._accepts, self._there = accepts, there
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(entrance))
        self._listener.listen()
        self._kept: list[socket.socket] = []
        threading.Thread(target=self._answer, daemon=True).start()

    def _answer(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            port = int(client.recv(64).split()[1])
            self.asked.append(port)
            if not self._there:
                self._kept.append(client)
                continue
            if port in self._accepts:
                client.sendall(b"OK 1024\n")
            client.close()

    def leave(self) -> None:
        self._listener.close()
        for client in self._kept:
            client.close()


@pytest.fixture
def guests(tmp_path: Path) -> Iterator[list[Guest]]:
    made: list[Guest] = []
    yield made
    for guest in made:
        guest.leave()


def test_a_port_that_accepts_is_found_among_those_that_refuse(scene: Scene, guests: list[Guest]) -> None:
    guest = Guest(scene.folder / "vsock.host", accepts=(22, 9999))
    guests.append(guest)
    assert vsock.scan(scene) == ("vsock port 22 accepts", "vsock port 9999 accepts")
    assert guest.asked == list(vsock.PORTS)


def test_a_guest_that_says_nothing_is_not_said_to_refuse(
    scene: Scene, guests: list[Guest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vsock, "_SECONDS", 0.2)
    guest = Guest(scene.folder / "vsock.host", accepts=(), there=False)
    guests.append(guest)
    with pytest.raises(CannotTryError, match="port 1 "):
        vsock.scan(scene)


def test_a_folder_tells_when_what_it_holds_was_run(scene: Scene) -> None:
    shares.server(scene.folder, "root")
    assert shares.opened(scene) == ()
    subprocess.run(["sh", scene.folder / "shared" / "run.sh"], check=True)
    assert shares.opened(scene) == ("the script in the folder was run",)
