# SPDX-License-Identifier: Apache-2.0
"""Two measured partition tables in words: which partition came, went, moved or grew.

Follows TCG PFP 1.06, *UEFI_GPT_DATA*: header, number of partitions, used entries. It reads the data of an
event that hashed to its digest, and leaves other bytes alone.
"""

from mantlet_measure.event_data import Partition, number, partition_table

_NAMED = 8


def difference(old: bytes | None, new: bytes | None) -> tuple[str, ...]:
    """Say how a measured table changed; each side is UEFI_GPT_DATA, or None where nobody knows it."""
    before = None if old is None else partition_table(old)
    after = None if new is None else partition_table(new)
    if after is None:
        return ()
    if before is None or old is None or new is None:
        named = [f"“{item.name}” of {_size(item)}" for item in after.partitions]
        return (f"the disk has {len(named)} partitions: {', '.join(named[:_NAMED])}",)
    sentences: list[str] = []
    if before.disk_guid != after.disk_guid:
        sentences.append(f"the disk's GUID {before.disk_guid} became {after.disk_guid}")
    # UEFI 2.10, 5.3.2: LastUsableLBA follows the size of the disk.
    last, now = number(old, 48, 8), number(new, 48, 8)
    if last != now:
        sentences.append(f"the disk's last usable block {last} became {now}")
    ours = {item.guid: item for item in before.partitions}
    theirs = {item.guid: item for item in after.partitions}
    for guid, item in ours.items():
        sentences.extend(_changed(item, theirs.get(guid)))
    sentences.extend(
        f"partition “{item.name}” of {_size(item)} is new"
        for guid, item in theirs.items()
        if guid not in ours
    )
    return tuple(sentences[:_NAMED])


def _changed(old: Partition, new: Partition | None) -> tuple[str, ...]:
    if new is None:
        return (f"partition “{old.name}” of {_size(old)} is gone",)
    if (old.first_block, old.last_block) == (new.first_block, new.last_block):
        return () if old.name == new.name else (f"partition “{old.name}” is now called “{new.name}”",)
    if old.first_block != new.first_block:
        moved = f"moved from block {old.first_block} to {new.first_block}"
        return (f"partition “{old.name}” {moved}, and is {_size(new)}",)
    return (f"partition “{old.name}” of {_size(old)} is now {_size(new)}",)


def _size(partition: Partition) -> str:
    return f"{partition.last_block - partition.first_block + 1} blocks"
