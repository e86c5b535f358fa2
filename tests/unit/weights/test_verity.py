# SPDX-License-Identifier: Apache-2.0
"""Hash trees, whole as the pack writes them, against those of veritysetup."""

import dataclasses
import hashlib
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mantlet.edge import chunks, pack_plan
from mantlet.edge.chunks import Piece
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
    rest = tmp_path / "rest"
    rest.write_bytes(data[:4096])
    parts = pack.layout(len(data))
    with chunks.workers(len(data)) as executor:
        root = pack_plan.hash_tree(rest, parts, pieces, salt=SALT, executor=executor)
    expected_root, expected_tree = tree_of_veritysetup(plain, count, tools)
    assert root == expected_root
    assert rest.read_bytes()[parts.hash_offset :] == expected_tree


def test_one_block_is_its_own_root(tmp_path: Path, tools: ToolsTree) -> None:
    plain, disk = tmp_path / "plain", tmp_path / "disk"
    plain.write_bytes(blocks(1))
    disk.touch()
    parts = Layout(data_blocks=1, hash_offset=4096, size=4096)
    pieces = [Piece(path=plain, start=0, size=4096)]
    with chunks.workers(4096) as executor:
        root = pack_plan.hash_tree(disk, parts, pieces, salt=SALT, executor=executor)
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


def reader(content: bytes) -> verity.Read:
    return lambda first, count: content[first * 4096 :][: count * 4096]


def hashed(count: int) -> tuple[verity.Tree, bytes]:
    """Return data and its tree, built level by level in memory, and what names them."""
    content, rows = blocks(count), [blocks(count)]
    while len(rows[-1]) > 4096:
        rows.append(verity.hash_blocks(rows[-1], salt=SALT))
    content += b"".join(reversed(rows[1:]))
    root = hashlib.sha256(SALT + rows[-1]).digest()
    return verity.Tree(root_hash=root, salt=SALT, data_blocks=count), content


@pytest.mark.parametrize("count", [1, 2, 128, 129, 300, 16385])
def test_a_sound_tree_vouches_for_every_block_of_data_and_tree(count: int) -> None:
    tree, content = hashed(count)
    total = len(content) // 4096
    assert verity.verified(reader(content), tree, first=0, count=total) == content
    assert verity.verified(reader(content), tree, first=total - 1, count=1) == content[-4096:]


@given(st.integers(2, 300), st.data())
def test_a_flipped_bit_anywhere_is_named_by_its_block(count: int, data: st.DataObject) -> None:
    tree, content = hashed(count)
    bit = data.draw(st.integers(0, len(content) * 8 - 1))
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(verity.DamagedBlockError) as refusal:
        verity.verified(reader(bytes(damaged)), tree, first=0, count=len(content) // 4096)
    assert refusal.value.block == bit // 8 // 4096


def test_nothing_below_a_damaged_block_is_read() -> None:
    tree, content = hashed(300)
    seen = []

    def read(first: int, count: int) -> bytes:
        seen.append(first)
        return content[first * 4096 :][: count * 4096]

    with pytest.raises(verity.DamagedBlockError):
        verity.verified(read, dataclasses.replace(tree, root_hash=bytes(32)), first=0, count=300)
    assert seen == [300]


def test_blocks_behind_the_tree_are_the_callers_fault() -> None:
    tree, content = hashed(2)
    with pytest.raises(ValueError, match="not all in data and tree"):
        verity.verified(reader(content), tree, first=0, count=4)
