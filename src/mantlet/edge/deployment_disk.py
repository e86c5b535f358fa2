# SPDX-License-Identifier: Apache-2.0
"""Make the disk of a deployment volume: one partition that the agent finds by name, four slots in it.

Which bytes a slot holds is `mantlet_measure.volume`'s matter (docs/formats.md, *Deployment volume*).
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mantlet.edge import process
from mantlet.edge.tools import ToolsTree
from mantlet_measure import approvals, dsse, epoch, sealed, volume
from mantlet_measure.approvals import Approvals
from mantlet_measure.dsse import Envelope
from mantlet_measure.epoch import EpochStatement
from mantlet_measure.sealed import SealedKey

_MEBI = 1 << 20
_PARTITION_OFFSET = _MEBI
_PARTITION_SIZE = _MEBI
_SECTOR = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Provision:
    """What a volume may hold beside the document: without a sealed key the machine awaits one."""

    sealed_key: SealedKey | None = None
    approvals: Approvals | None = None
    epoch: EpochStatement | None = None

    def slots(self) -> Iterator[tuple[int, bytes]]:
        """Yield offset and payload of each slot that is not empty."""
        if self.sealed_key is not None:
            yield volume.SEALED_KEY_OFFSET, sealed.encode(self.sealed_key)
        if self.approvals is not None:
            yield volume.APPROVALS_OFFSET, approvals.encode(self.approvals)
        if self.epoch is not None:
            yield volume.EPOCH_OFFSET, epoch.encode(self.epoch)


def write(path: Path, envelope: Envelope, *, provision: Provision | None = None, tools: ToolsTree) -> None:
    """Write a new disk at `path` with the signed document in its slot, and what else is provided in theirs.

    Raises ProcessError when sfdisk fails, OSError when there is no room; nothing partial stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            # The backup table takes the last 33 sectors.
            file.truncate(_PARTITION_OFFSET + _PARTITION_SIZE + _MEBI)
        table = (
            f"label: gpt\nlabel-id: {uuid.uuid4()}\n"
            f"start={_PARTITION_OFFSET // _SECTOR}, size={_PARTITION_SIZE // _SECTOR}, "
            f"type=linux, name={volume.PARTITION}\n"
        )
        argv = ["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", "--wipe=never", str(partial)]
        process.run(tools.command(argv, rw=[partial]), stdin=table.encode("ascii"))
        with partial.open("r+b") as file:
            document = (volume.DOCUMENT_OFFSET, dsse.encode(envelope))
            for offset, payload in (document, *(provision or Provision()).slots()):
                file.seek(_PARTITION_OFFSET + offset)
                file.write(volume.encode_slot(payload))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
