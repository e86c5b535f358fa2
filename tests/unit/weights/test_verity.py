# SPDX-License-Identifier: Apache-2.0
"""Hash trees, whole as the pack writes them, against those of veritysetup."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from mantlet.edge import pack_disk
from mantlet.edge.pack_disk import Piece
from mantlet.edge.tools import ToolsTree
from mantlet.weights import pack, verity
from mantlet.weights.pack import Layout

SALT = hashlib.sha256(b"salt").digest()
# Levels of one block, of one more digest than that, of whole blocks; more than one chunk; three levels.
SIZES = (
    2, 3, 5, 64, 126, 127, 128, 129, 130, 255, 256, 257, 640, 1000, 1023, 1024, 1025, 1026, 2047, 2048, 2049,
    4095, 4096, 4097, 16383, 16384, 16385, 16512, 16513,
)  # fmt: skip


def blocks(count: int) -> bytes:
    """Blocks of which no two are equal."""
    return b"".join(number.to_bytes(8, "big") * 512 for number in range(count))


def tree_of_veritysetup(plain: Path, count: int, tools: ToolsTree) -> tuple[bytes, bytes]:
    """Return the root hash and the tree."""
    tree, root = plain.with_name("tree"), plain.with_name("root")
    argv = [
        "veritysetup", "format", "--no-superblock", "--hash=sha256", "--format=1",
        "--data-block-size=4096", "--hash-block-size=4096", f"--data-blocks={count}",
        f"--salt={SALT.hex()}", f"--root-hash-file={root}", str(plain), str(tree),
    ]  # fmt: skip
    subprocess.run(tools.command(argv, rw=[plain.parent]), check=True, capture_output=True, timeout=60)
    return bytes.fromhex(root.read_text("ascii").strip()), tree.read_bytes()


@pytest.mark.parametrize("count", SIZES)
def test_the_tree_is_veritysetups_byte_for_byte(count: int, tmp_path: Path, tools: ToolsTree) -> None:
    data = blocks(count)
    plain = tmp_path / "plain"
    plain.write_bytes(data)
    # The first block is on the disk already, the others come out of two files, cut at no block's end.
    cut = 4096 + len(data) // 3
    (tmp_path / "one").write_bytes(data[4096:cut])
    (tmp_path / "other").write_bytes(data[cut:])
    pieces = [
        Piece(path=tmp_path / "one", start=4096, size=cut - 4096),
        Piece(path=tmp_path / "other", start=cut, size=len(data) - cut),
    ]
    disk = tmp_path / "disk"
    with disk.open("xb") as file:
        file.seek(pack.PARTITION_OFFSET)
        file.write(data[:4096])
    parts = pack.layout(len(data))
    with pack_disk.workers(len(data)) as executor:
        root = pack_disk.hash_tree(disk, parts, pieces, salt=SALT, executor=executor)
    expected_root, expected_tree = tree_of_veritysetup(plain, count, tools)
    assert root == expected_root
    with disk.open("rb") as file:
        assert (
            os.pread(file.fileno(), parts.size, pack.PARTITION_OFFSET)[parts.hash_offset :] == expected_tree
        )


def test_one_block_is_its_own_root(tmp_path: Path, tools: ToolsTree) -> None:
    plain, disk = tmp_path / "plain", tmp_path / "disk"
    plain.write_bytes(blocks(1))
    disk.touch()
    parts = Layout(data_blocks=1, hash_offset=4096, size=4096)
    pieces = [Piece(path=plain, start=0, size=4096)]
    with pack_disk.workers(4096) as executor:
        root = pack_disk.hash_tree(disk, parts, pieces, salt=SALT, executor=executor)
    assert (root, b"") == tree_of_veritysetup(plain, 1, tools)
    assert verity.levels(1) == ()


def test_no_block_has_no_tree() -> None:
    with pytest.raises(ValueError, match="0 blocks"):
        verity.levels(0)


def test_a_broken_block_is_the_callers_fault() -> None:
    with pytest.raises(ValueError, match="no whole number of blocks"):
        verity.digests(bytes(4097), salt=SALT)


def test_levels_lie_top_first_and_leave_no_gap() -> None:
    # Counted by hand: 128 digests of 32 bytes fit a block of 4096.
    assert [(level.first, level.blocks) for level in verity.levels(128 * 128 + 1)] == [
        (3, 129),
        (1, 2),
        (0, 1),
    ]
