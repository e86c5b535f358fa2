# SPDX-License-Identifier: Apache-2.0
"""The vocabulary of a boot, and what leaves it."""

import os
import termios
from pathlib import Path

import pytest

from mantlet_agent import stages
from mantlet_agent.places import Places
from mantlet_agent.record import Recorder
from mantlet_agent.stages import MEANINGS, Code, Record, Stage, State
from mantlet_measure.errors import DecodeError


@pytest.fixture
def places(tmp_path: Path) -> Places:
    made = Places(root=tmp_path)
    made.public.mkdir(parents=True)
    made.devices.mkdir()
    return made


def test_every_code_has_a_meaning_and_no_meaning_lacks_its_code() -> None:
    assert set(MEANINGS) == set(Code)
    assert all(code.meaning.endswith(".") for code in Code)


def test_a_record_survives_its_own_encoding() -> None:
    record = Record(
        state=State.AWAITING_KEY,
        verdicts=((Stage.INSPECT, Code.OK), (Stage.UNSEAL, Code.SEALED_KEY_FOREIGN)),
    )
    assert stages.decode(stages.encode(record)) == record


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b'{"format":"mantlet-stages/v1","stages":[],"state":"ready"}',
        b'{"format":"mantlet-stages/v1","stages":[{"code":"fine","stage":"cap"}],"state":"serving"}',
        b'{"format":"mantlet-stages/v1","more":1,"stages":[],"state":"serving"}',
    ],
)
def test_a_record_outside_the_vocabulary_is_refused(content: bytes) -> None:
    with pytest.raises(DecodeError):
        stages.decode(content)


def test_a_verdict_is_one_line_on_the_port_and_one_entry_in_the_file(places: Places) -> None:
    places.serial.write_bytes(b"")
    with Recorder(places) as recorder:
        recorder.conclude(Stage.INSPECT, Code.OK)
        recorder.conclude(Stage.CONFIGURE, Code.DOCUMENT_UNSIGNED)
    assert places.serial.read_bytes() == b"mantlet inspect ok\r\nmantlet configure document-unsigned\r\n"
    record = stages.decode(places.stages.read_bytes())
    assert record.verdicts == ((Stage.INSPECT, Code.OK), (Stage.CONFIGURE, Code.DOCUMENT_UNSIGNED))


def test_a_note_is_in_the_file_alone(places: Places) -> None:
    places.serial.write_bytes(b"")
    with Recorder(places) as recorder:
        recorder.note(Stage.UNSEAL, Code.SEALED_KEY_FOREIGN, state=State.AWAITING_KEY)
    assert places.serial.read_bytes() == b""
    assert stages.decode(places.stages.read_bytes()).state is State.AWAITING_KEY


def test_a_machine_without_a_serial_port_is_recorded_all_the_same(places: Places) -> None:
    with Recorder(places) as recorder:
        recorder.conclude(Stage.INSPECT, Code.OK)
    assert places.stages.exists()


def test_nothing_that_is_typed_at_the_port_comes_back(places: Places) -> None:
    keyboard, port = os.openpty()
    places.serial.symlink_to(os.ttyname(port))
    with Recorder(places) as recorder:
        recorder.conclude(Stage.INSPECT, Code.OK)
        os.write(keyboard, b"root\r\x03")
        flags = termios.tcgetattr(port)
        os.set_blocking(keyboard, False)
        assert os.read(keyboard, 1000) == b"mantlet inspect ok\r\n"
        with pytest.raises(BlockingIOError):
            os.read(keyboard, 1000)
    assert not flags[3] & (termios.ECHO | termios.ISIG | termios.ICANON)
    assert not flags[1] & termios.OPOST
    os.close(keyboard)
    os.close(port)
