# SPDX-License-Identifier: Apache-2.0
"""A deployment document is read from its envelope and from the volume that `mantlet deploy` writes alike."""

from pathlib import Path

import pytest

from mantlet.edge import deployment_disk, deployment_source
from mantlet.edge.tools import ToolsTree
from mantlet_measure import dsse, volume
from mantlet_measure.errors import DecodeError
from tests.unit.measure import samples
from tests.unit.predict import media

ENVELOPE = samples.envelope()


@pytest.fixture
def disk(tools: ToolsTree, tmp_path: Path) -> Path:
    path = tmp_path / "deployment.raw"
    deployment_disk.write(path, ENVELOPE, tools=tools)
    return path


def test_the_volume_and_the_envelope_hold_the_same_document(disk: Path, tmp_path: Path) -> None:
    envelope = tmp_path / "deployment.json"
    envelope.write_bytes(dsse.encode(ENVELOPE))
    assert deployment_source.payload(envelope) == ENVELOPE.payload
    assert deployment_source.payload(disk) == ENVELOPE.payload


def test_volume_without_a_document_is_refused(disk: Path) -> None:
    data = bytearray(disk.read_bytes())
    start = data.index(volume.MAGIC)
    data[start : start + volume.HEADER_SIZE] = bytes(volume.HEADER_SIZE)
    disk.write_bytes(data)
    with pytest.raises(DecodeError, match=rf"byte {start}: expected a document in its slot, found an empty"):
        deployment_source.payload(disk)


def test_volume_with_a_torn_slot_is_refused(disk: Path) -> None:
    data = bytearray(disk.read_bytes())
    data[data.index(volume.MAGIC) + volume.HEADER_SIZE + 1] ^= 1
    disk.write_bytes(data)
    with pytest.raises(DecodeError, match="expected SHA-256"):
        deployment_source.payload(disk)


def test_disk_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "disk.raw"
    path.write_bytes(media.disk([(media.ROOT, b"the root")]))
    with pytest.raises(DecodeError, match="a partition mantlet-deployment, found part"):
        deployment_source.payload(path)


@pytest.mark.parametrize("data", [b"{}", b"no document"])
def test_file_that_is_neither_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(DecodeError):
        deployment_source.payload(path)
