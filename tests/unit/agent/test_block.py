# SPDX-License-Identifier: Apache-2.0
"""Finding partitions in a tree like sysfs', and the refusal of nodes that are not the device."""

import os
from pathlib import Path

import pytest

from mantlet_agent.block import Partition, PartitionError, find_partition, read_slot, write_slot


class Tree:
    """A folder like /sys/class/block."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def add(self, name: str, *lines: str, sectors: str = "2048") -> None:
        entry = self.root / name
        entry.mkdir()
        (entry / "uevent").write_text("".join(f"{line}\n" for line in lines))
        (entry / "size").write_text(f"{sectors}\n")

    def partition(self, name: str, partname: str, **size: str) -> None:
        self.add(
            name,
            "MAJOR=254",
            "MINOR=17",
            f"DEVNAME={name}",
            "DEVTYPE=partition",
            f"PARTNAME={partname}",
            **size,
        )

    def find(self, name: str = "mantlet-weights") -> Partition:
        return find_partition(name, block=self.root, devices=Path("/dev"))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    made = Tree(tmp_path)
    made.add("vda", "MAJOR=254", "MINOR=0", "DEVNAME=vda", "DEVTYPE=disk")
    made.partition("vda1", "esp")
    return made


def test_the_partition_of_a_name_is_found_with_its_number_and_size(tree: Tree) -> None:
    tree.partition("vdb1", "mantlet-weights", sectors="64")
    assert tree.find() == Partition(node=Path("/dev/vdb1"), major=254, minor=17, size=32768)


def test_no_partition_of_the_name_is_told_from_two(tree: Tree) -> None:
    with pytest.raises(PartitionError) as none:
        tree.find()
    tree.partition("vdb1", "mantlet-weights")
    tree.partition("vdc7", "mantlet-weights")
    with pytest.raises(PartitionError) as two:
        tree.find()
    assert (none.value.found, two.value.found) == (0, 2)


@pytest.mark.parametrize(
    "name", ["mantlet-weights ", "Mantlet-weights", "xmantlet-weights", "mantlet-weights=1"]
)
def test_a_name_that_is_only_like_it_is_not_taken(tree: Tree, name: str) -> None:
    tree.partition("vdb1", name)
    with pytest.raises(PartitionError):
        tree.find()


def test_a_whole_disk_that_bears_the_name_is_not_taken(tree: Tree) -> None:
    tree.add("vdb", "MAJOR=254", "MINOR=16", "DEVNAME=vdb", "DEVTYPE=disk", "PARTNAME=mantlet-weights")
    with pytest.raises(PartitionError):
        tree.find()


def test_a_device_that_goes_away_during_the_scan_is_passed_over(tree: Tree) -> None:
    (tree.root / "vdx").mkdir()
    tree.partition("vdb1", "mantlet-weights", sectors="")
    tree.partition("vdc1", "mantlet-weights")
    assert tree.find().node == Path("/dev/vdc1")


def test_a_file_or_another_device_in_the_nodes_place_is_refused(tmp_path: Path) -> None:
    plain = tmp_path / "vdb1"
    plain.write_bytes(bytes(1 << 20))
    link = tmp_path / "link"
    link.symlink_to(plain)
    for node in (plain, link, Path(os.devnull)):
        partition = Partition(node=node, major=254, minor=17, size=1 << 20)
        with pytest.raises(OSError, match=r"is not block device|symbolic links"):
            read_slot(partition, 0)
        with pytest.raises(OSError, match=r"is not block device|symbolic links"):
            write_slot(partition, 0, b"x")
    assert not any(plain.read_bytes())
