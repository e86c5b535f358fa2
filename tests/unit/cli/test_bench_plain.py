# SPDX-License-Identifier: Apache-2.0
"""The machine that the sealed pack is set beside: what its agent does instead of opening a cipher."""

import shutil
from pathlib import Path
from types import ModuleType

import pytest

from mantlet.edge.bench import variants
from mantlet_agent import kernel, launch
from mantlet_agent.block import Partition
from mantlet_agent.places import Places
from tests.unit.measure.samples import DEPLOYMENT


@pytest.fixture
def plain(tmp_path: Path) -> ModuleType:
    """The agent's launch as the variant's recipe has it."""
    rendered = tmp_path / "mkosi.extra" / "usr" / "lib" / "mantlet" / "mantlet_agent" / "launch.py"
    rendered.parent.mkdir(parents=True)
    shutil.copyfile(launch.__file__, rendered)
    variants._open_plain(tmp_path)
    module = ModuleType("launch")
    exec(compile(rendered.read_bytes(), rendered, "exec"), module.__dict__)
    return module


def test_the_plain_machine_mounts_the_partition_itself_and_wipes_the_key(
    plain: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places, model = Places(root=tmp_path), DEPLOYMENT.model
    partition = Partition(node=tmp_path / "vdc1", major=254, minor=33, size=model.size)
    (tmp_path / "run" / "mantlet").mkdir(parents=True)
    mounted = []

    def mount(device: Path, target: Path, filesystem: str) -> None:
        mounted.append((device, target, filesystem))
        (target / model.file).write_bytes(b"GGUF")

    monkeypatch.setattr(kernel, "mount_read_only", mount)
    key = bytearray(b"k" * 32)
    plain.open_weights(places, partition, model, key)
    assert mounted == [(partition.node, places.weights, "erofs")]
    assert key == bytes(32)


def test_the_plain_machine_has_all_else_of_the_launch_unchanged(plain: ModuleType) -> None:
    for name in ("check_model", "runtime_unit", "wait_for_runtime"):
        assert getattr(plain, name).__code__.co_code == getattr(launch, name).__code__.co_code
