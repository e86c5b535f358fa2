# SPDX-License-Identifier: Apache-2.0
"""The disk image around a pack, beside what sfdisk writes for the same partition."""

import hashlib
import subprocess
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mantlet.edge.tools import ToolsTree
from mantlet.weights import disk
from mantlet.weights.disk import PARTITION_OFFSET

# From docs/formats.md, *Weights pack*.
NAMESPACE = uuid.UUID("6d616e74-6c65-5477-8569-676874733031")
LINUX_DATA = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"


@given(st.integers(3, 1 << 36))
def test_the_disk_holds_the_partition_and_both_partition_tables(blocks: int) -> None:
    size = blocks * 4096
    whole, needed = disk.size_of(size), PARTITION_OFFSET + size + 33 * 512
    assert whole % (1 << 20) == 0
    assert needed <= whole < needed + (1 << 20)


@pytest.mark.parametrize("size", [12_288, (1 << 20) - 33 * 512 - 4096, 99_500_032, 5 << 40])
def test_what_is_around_the_partition_is_what_sfdisk_writes(
    size: int, tmp_path: Path, tools: ToolsTree
) -> None:
    size -= size % 4096
    root_hash = hashlib.sha256(str(size).encode()).digest()
    image = tmp_path / "image"
    with image.open("xb") as file:
        file.truncate(disk.size_of(size))
    script = "\n".join(
        (
            "label: gpt",
            f"label-id: {uuid.uuid5(NAMESPACE, f'disk:{root_hash.hex()}')}",
            # sfdisk puts this lower on a very small disk, and here alone.
            "first-lba: 2048",
            "unit: sectors",
            "sector-size: 512",
            f"start=2048, size={size // 512}, type={LINUX_DATA}, "
            f'uuid={uuid.uuid5(NAMESPACE, f"partition:{root_hash.hex()}")}, name="mantlet-weights"',
            "",
        )
    )
    argv = ["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", "--wipe=never", str(image)]
    subprocess.run(tools.command(argv, rw=[tmp_path]), input=script.encode(), check=True, timeout=60)
    with image.open("rb") as file:
        assert file.read(PARTITION_OFFSET) == disk.head(root_hash, size)
        file.seek(PARTITION_OFFSET + size)
        assert file.read() == disk.tail(root_hash, size)
