# SPDX-License-Identifier: Apache-2.0
"""The deployment volume as a disk: what is provided lies in its slot, and nothing else does."""

from pathlib import Path

import pytest

from mantlet.edge import deployment_disk
from mantlet.edge.deployment_disk import Provision
from mantlet.edge.tools import ToolsTree
from mantlet.predict import gpt
from mantlet_measure import approvals, dsse, epoch, sealed, volume
from tests.unit.measure.samples import APPROVALS, EPOCH, SEALED, envelope

SLOTS = {
    volume.DOCUMENT_OFFSET: dsse.encode(envelope()),
    volume.SEALED_KEY_OFFSET: sealed.encode(SEALED),
    volume.APPROVALS_OFFSET: approvals.encode(APPROVALS),
    volume.EPOCH_OFFSET: epoch.encode(EPOCH),
}


def slots(disk: Path) -> dict[int, bytes]:
    """What the slots hold that are not empty, by their offset."""
    data = disk.read_bytes()
    (partition,) = [
        entry for entry in gpt.decode(memoryview(data)).partitions if entry.name == volume.PARTITION
    ]
    found = {
        offset: volume.decode_slot(data[partition.offset + offset :][: volume.SLOT_SIZE]) for offset in SLOTS
    }
    return {offset: payload for offset, payload in found.items() if payload is not None}


@pytest.mark.parametrize(
    ("provision", "filled"),
    [
        (None, 1),
        (Provision(), 1),
        (Provision(sealed_key=SEALED, approvals=APPROVALS), 3),
        (Provision(sealed_key=SEALED, approvals=APPROVALS, epoch=EPOCH), 4),
    ],
    ids=["nothing", "an empty provision", "a key", "a key and a statement"],
)
def test_what_is_provided_lies_in_its_slot(
    tools: ToolsTree, tmp_path: Path, provision: Provision | None, filled: int
) -> None:
    disk = tmp_path / "volume.raw"
    deployment_disk.write(disk, envelope(), provision=provision, tools=tools)
    assert slots(disk) == dict(list(SLOTS.items())[:filled])


def test_the_slots_fill_the_smallest_partition_and_do_not_overlap() -> None:
    assert list(SLOTS) == [number * volume.SLOT_SIZE for number in range(4)]
    assert 4 * volume.SLOT_SIZE == 1 << 20
