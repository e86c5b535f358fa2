# SPDX-License-Identifier: Apache-2.0
"""Launch, as far as it needs no device mapper: the model's file, the units, the runtime's health."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mantlet_agent import boot, command, configuration, front, health, kernel, launch
from mantlet_agent.block import Partition
from mantlet_agent.configuration import Runtime
from mantlet_agent.places import FRONT_UID, SERVE_UID, Places
from mantlet_agent.stages import Code, StageError
from mantlet_measure import strictjson
from mantlet_measure.deployment import Model
from tests import sockets

MODEL = Model(
    id="tiny",
    version="1",
    epoch=1,
    file="model.gguf",
    root_hash=bytes(32),
    salt=bytes(32),
    data_blocks=1,
    hash_offset=4096,
    size=8192,
)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    made = Places(root=tmp_path)
    made.public.mkdir(parents=True)
    made.devices.mkdir()
    return made


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    declaration = {"name": "x", "socket": "/run/x/x.sock", "health": "/health", "start_seconds": 1}
    decoded = configuration.read_runtime(strictjson.encode(declaration))
    return Runtime(
        declaration=decoded.declaration,
        name=decoded.name,
        socket=tmp_path / "x.sock",
        health=decoded.health,
        start_seconds=1,
    )


@pytest.fixture
def answers(runtime: Runtime) -> Iterator[list[bytes]]:
    """A server that gives one answer a connection, the last one for ever."""
    given = [b"HTTP/1.1 503 Loading\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(runtime.socket))
    listener.listen()

    def answer() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(1000)
                connection.sendall(given.pop(0) if len(given) > 1 else given[0])

    threading.Thread(target=answer, daemon=True).start()
    yield given
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def refused(code: Code) -> "pytest.RaisesExc[StageError]":
    return pytest.raises(StageError, check=lambda error: error.code is code)


def whole() -> None:
    """Watch weights that verify."""


def power_off(*_: str) -> int:
    os.kill(os.getpid(), signal.SIGTERM)
    return 0


@pytest.fixture
def terminable() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, boot.interrupted)
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_runtime_that_is_still_loading_is_waited_for(runtime: Runtime, answers: list[bytes]) -> None:
    launch.wait_for_runtime(runtime, whole)
    assert len(answers) == 1


def test_a_runtime_that_never_answers_is_refused_in_time(runtime: Runtime) -> None:
    with refused(Code.RUNTIME_FAILED):
        launch.wait_for_runtime(runtime, whole)


def test_a_block_that_does_not_verify_ends_the_waiting_at_once(runtime: Runtime) -> None:
    asked: list[bool] = []

    def watch() -> None:
        asked.append(True)
        if len(asked) == 3:
            raise StageError(Code.WEIGHTS_CORRUPT, "a block")

    with refused(Code.WEIGHTS_CORRUPT):
        launch.wait_for_runtime(replace(runtime, start_seconds=3600), watch)
    assert len(asked) == 3


def test_a_mapping_that_cannot_be_asked_is_named(places: Places) -> None:
    with refused(Code.MAPPING_FAILED):
        launch._require_whole(places.devices)


def test_the_runtime_is_told_its_model_by_a_file_alone(places: Places) -> None:
    assert launch.runtime_unit(places, MODEL) == {"mantlet-runtime@tiny.service": Code.RUNTIME_FAILED}
    assert places.runtime_environment.read_bytes() == b"MODEL_FILE=model.gguf\n"


@pytest.mark.parametrize(("unit", "code"), front.UNITS.items())
def test_of_units_that_start_together_the_one_that_failed_is_named(
    unit: str, code: Code, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []

    def run(*argv: str) -> int:
        asked.append(argv[1:])
        return int(unit in argv)

    monkeypatch.setattr("mantlet_agent.command._run", run)
    with refused(code):
        command.start(front.UNITS)
    assert asked[0] == ("start", "--quiet", "--no-ask-password", *front.UNITS)


def test_a_start_that_failed_is_refused_though_all_units_are_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mantlet_agent.command._run", lambda *argv: int(argv[1] == "start"))
    with refused(Code.EVIDENCE_FAILED):
        command.start(front.UNITS)


@pytest.mark.usefixtures("terminable")
def test_a_power_off_is_blamed_on_what_was_waited_for(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mantlet_agent.command._run", power_off)
    with refused(Code.RUNTIME_FAILED):
        command.start({"mantlet-runtime@tiny.service": Code.RUNTIME_FAILED, **front.UNITS})
    monkeypatch.setattr("mantlet_agent.health.status_line", power_off)
    with refused(Code.EVIDENCE_FAILED):
        health.require(places.evidence_socket, "/", seconds=1, failed=Code.EVIDENCE_FAILED)


def test_the_front_has_the_only_copy_of_its_key_once_its_answers_are_waited_for(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    places.private.mkdir()
    tell_of_sockets(places, sockets.told(user=FRONT_UID))
    front.make_key(places)
    assert places.tls_key.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")
    asked: list[tuple[Path, str]] = []
    monkeypatch.setattr(
        "mantlet_agent.health.status_line", lambda *question: asked.append(question) or b"HTTP/1.1 200 OK"
    )
    front.wait_for_answers(places)
    assert not places.tls_key.exists()
    assert asked == [(places.evidence_socket, "/.well-known/mantlet/status")]


@pytest.mark.parametrize(
    "found",
    [
        sockets.told(user=FRONT_UID, state="01"),
        sockets.told(user=SERVE_UID),
        sockets.told(user=FRONT_UID).splitlines(keepends=True)[0],
    ],
    ids=["connected", "another's", "none"],
)
def test_a_front_that_does_not_listen_is_refused(
    places: Places, monkeypatch: pytest.MonkeyPatch, found: bytes
) -> None:
    tell_of_sockets(places, found)
    monkeypatch.setattr("mantlet_agent.health.status_line", lambda *_question: b"HTTP/1.1 200 OK")
    monkeypatch.setattr("mantlet_agent.front._FRONT_SECONDS", 0.0)
    with refused(Code.FRONT_FAILED):
        front.wait_for_answers(places)


def test_a_front_that_listens_a_little_later_is_waited_for(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell_of_sockets(places, sockets.told(user=SERVE_UID))
    monkeypatch.setattr("mantlet_agent.health.status_line", lambda *_question: b"HTTP/1.1 200 OK")
    monkeypatch.setattr(
        "mantlet_agent.front.time.sleep",
        lambda _seconds: tell_of_sockets(places, sockets.told(user=FRONT_UID)),
    )
    front.wait_for_answers(places)


def tell_of_sockets(places: Places, content: bytes) -> None:
    places.tcp_sockets.parent.mkdir(parents=True, exist_ok=True)
    places.tcp_sockets.write_bytes(content)


def test_a_model_that_is_not_there_or_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    launch.check_model(tmp_path / "model.gguf")
    for name, code in (
        ("absent", Code.MODEL_ABSENT),
        ("folder", Code.MODEL_ABSENT),
        ("link", Code.WEIGHTS_CORRUPT),
    ):
        with refused(code):
            launch.check_model(tmp_path / name)


def test_the_key_is_wiped_when_nothing_could_be_mapped(places: Places) -> None:
    key = bytearray(b"k" * 32)
    partition = Partition(node=places.devices / "vdb1", major=254, minor=17, size=8192)
    with refused(Code.MAPPING_FAILED):
        launch.open_weights(places, partition, MODEL, key)
    assert key == bytearray(32)


def test_wiping_overwrites_in_place() -> None:
    secret = bytearray(b"secret")
    kernel.wipe(secret)
    assert secret == bytearray(6)
    kernel.wipe(bytearray())


def test_a_server_that_talks_for_ever_is_cut_at_its_status_line(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def talk() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"x" * 5000)

        talking = threading.Thread(target=talk)
        talking.start()
        assert len(health.status_line(path, "/")) <= 512
        talking.join()
