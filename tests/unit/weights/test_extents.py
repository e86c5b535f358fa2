# SPDX-License-Identifier: Apache-2.0
"""Where files lie in an erofs image, against images that mkfs.erofs filled itself; and what bad ones get."""

import hashlib
import os
import subprocess
import tarfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mantlet.edge import erofs
from mantlet.edge.erofs import Source
from mantlet.edge.tools import ToolsTree
from mantlet.weights import extents, pack
from mantlet.weights.extents import Extent
from mantlet_measure.errors import DecodeError

UUID = pack.filesystem_uuid("tiny")
ONE = (5000,)
EDGES = (1, 4095, 4096, 4097, 8192, 100_000)
# Their names, of 46 bytes, need 4087 bytes of directory: too much to stand behind an inode in one block.
FULL = (1,) * 70
# Their names fill several blocks of the directory, their inodes several of the metadata.
MANY = tuple(range(1, 400))


def write_sources(folder: Path, sizes: tuple[int, ...]) -> list[Source]:
    sources = []
    for number, size in enumerate(sizes):
        path = folder / f"file-{number:05}.{'x' * 35}"
        path.write_bytes(hashlib.shake_256(path.name.encode()).digest(size))
        sources.append(Source(name=path.name, path=path, size=size))
    return sources


def written(sources: Sequence[Source], image: Path, tools: ToolsTree) -> tuple[tuple[Source, Extent], ...]:
    erofs.write(sources, image, uuid=UUID, tools=tools)
    return erofs.places(sources, image, size=image.stat().st_size)


def filled_by_mkfs(sources: list[Source], folder: Path, tools: ToolsTree) -> bytes:
    """The image that mkfs.erofs makes of a whole tar, data and all."""
    archive, image = folder / "whole.tar", folder / "whole"
    with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT) as tar:
        root = tarfile.TarInfo(".")
        root.type, root.mode = tarfile.DIRTYPE, 0o555
        tar.addfile(root)
        for source in sources:
            entry = tarfile.TarInfo(source.name)
            entry.mode, entry.size = 0o444, source.size
            tar.addfile(entry, BytesIO(source.path.read_bytes()))
    argv = [
        "mkfs.erofs", "--quiet", "-d0", "-b4096", "-T0", f"-U{UUID}", "-x-1", "-Enoinline_data", "--tar=f",
        "--sort=none", str(image), str(archive),
    ]  # fmt: skip
    subprocess.run(tools.command(argv, rw=[folder]), check=True, timeout=60)
    return image.read_bytes()


@pytest.mark.parametrize("sizes", [ONE, EDGES, FULL, MANY], ids=["one", "edges", "full", "many"])
def test_metadata_and_data_together_are_the_image_that_mkfs_fills(
    sizes: tuple[int, ...], tmp_path: Path, tools: ToolsTree
) -> None:
    sources = write_sources(tmp_path, sizes)
    places = written(sources, tmp_path / "image", tools)
    made = bytearray((tmp_path / "image").read_bytes())
    for source, extent in places:
        assert source.name == extent.name
        assert not any(made[extent.start : extent.start + extent.size])
        made[extent.start : extent.start + extent.size] = source.path.read_bytes()
    assert len(places) == len(sizes)
    assert made == filled_by_mkfs(sources, tmp_path, tools)


def test_a_file_of_more_than_4_gib_has_its_whole_size(tmp_path: Path, tools: ToolsTree) -> None:
    large, size = tmp_path / "a.gguf", (5 << 30) + 1
    large.touch()
    os.truncate(large, size)
    (small,) = write_sources(tmp_path, (5000,))
    sources = [Source(name=large.name, path=large, size=size), small]
    places = written(sources, tmp_path / "image", tools)
    assert [(extent.name, extent.size) for _, extent in places] == [(large.name, size), (small.name, 5000)]
    # Nothing but metadata: the room of the files is a hole.
    assert (tmp_path / "image").stat().st_blocks * 512 <= 64 << 10


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory, tools: ToolsTree) -> bytes:
    folder = tmp_path_factory.mktemp("image")
    written(write_sources(folder, EDGES), folder / "image", tools)
    return (folder / "image").read_bytes()


def found(data: bytes) -> tuple[Extent, ...]:
    return extents.find(lambda start, size: data[start : start + size], size=len(data))


def test_an_image_cut_short_is_refused(image: bytes) -> None:
    for size in (0, 1024, 1100, 4096, len(image) - 4096):
        with pytest.raises(DecodeError):
            found(image[:size])


@given(st.data())
def test_any_flipped_bit_gives_places_inside_the_image_or_a_decode_error(
    image: bytes, data: st.DataObject
) -> None:
    bit = data.draw(st.integers(1024 * 8, 4096 * 8 - 1))
    flipped = bytearray(image)
    flipped[bit // 8] ^= 1 << bit % 8
    try:
        places = found(bytes(flipped))
    except DecodeError:
        return
    end = 0
    for extent in places:
        assert extent.start >= end
        end = extent.start + extent.size
    assert end <= len(image)


def altered(image: bytes, offset: int, value: bytes) -> bytes:
    return image[:offset] + value + image[offset + len(value) :]


@pytest.mark.parametrize(
    ("offset", "value", "expected"),
    # struct erofs_super_block: magic at 0, blkszbits at 12, root_nid at 14.
    [(0, b"EXT4", "magic number"), (12, b"\x09", "blocks of 4096"), (14, b"\xff\xff", "an inode before")],
)
def test_a_superblock_of_another_kind_is_refused(
    image: bytes, offset: int, value: bytes, expected: str
) -> None:
    with pytest.raises(DecodeError) as refusal:
        found(altered(image, 1024 + offset, value))
    assert expected in refusal.value.expected


def root_inode(image: bytes) -> int:
    """The byte where the root's inode starts: root_nid times 32, counted from block meta_blkaddr."""
    return int.from_bytes(image[1024 + 40 : 1024 + 44], "little") * 4096 + 32 * int.from_bytes(
        image[1024 + 14 : 1024 + 16], "little"
    )


@pytest.mark.parametrize(
    ("offset", "value", "expected"),
    # struct erofs_inode_compact: i_format at 0 (layout from bit 1), i_xattr_icount at 2, i_mode at 4.
    [
        (2, b"\x01\x00", "no extended attributes"),
        (4, b"\x24\x81", "a root directory"),
        (0, b"\x08", "a plain directory"),
    ],
)
def test_a_root_of_another_kind_is_refused(image: bytes, offset: int, value: bytes, expected: str) -> None:
    with pytest.raises(DecodeError) as refusal:
        found(altered(image, root_inode(image) + offset, value))
    assert expected in refusal.value.expected


@pytest.mark.parametrize("change", ["layout", "mode", "start", "size"])
def test_a_file_that_is_not_one_run_of_blocks_inside_the_image_is_refused(image: bytes, change: str) -> None:
    first = found(image)[0]
    inode = next(
        place
        for place in range(1152, 4096, 32)
        if image[place + 8 : place + 12] == first.size.to_bytes(4, "little")
        and image[place + 16 : place + 20] == (first.start // 4096).to_bytes(4, "little")
    )
    offset, value = {
        "layout": (0, b"\x08"),
        "mode": (4, b"\xa4\xa1"),
        "start": (16, bytes([255, 255])),
        "size": (8, bytes([255, 255, 255])),
    }[change]
    with pytest.raises(DecodeError, match=r"file-00000.*(one run of blocks|an end up to byte)"):
        found(altered(image, inode + offset, value))


def test_an_image_that_lacks_a_file_is_refused(tmp_path: Path, tools: ToolsTree) -> None:
    (source,) = write_sources(tmp_path, (5000,))
    with pytest.raises(DecodeError, match="expected 2 files of 10,000 bytes, found 1 of 5,000"):
        written([source, source], tmp_path / "image", tools)
