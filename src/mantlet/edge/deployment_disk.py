# SPDX-License-Identifier: Apache-2.0
"""Make the disk of a deployment volume: one partition that the agent finds by name, two slots in it.

Which bytes a slot holds is `mantlet_measure.volume`'s matter (docs/formats.md, *Deployment volume*).
"""

import uuid
from pathlib import Path

from mantlet.edge import process
from mantlet.edge.tools import ToolsTree
from mantlet_measure import dsse, volume
from mantlet_measure.dsse import Envelope
from mantlet_measure.sealed import SealedKey, encode

_MEBI = 1 << 20
_PARTITION_OFFSET = _MEBI
_PARTITION_SIZE = _MEBI
_SECTOR = 512


def write(path: Path, envelope: Envelope, *, sealed_key: SealedKey | None = None, tools: ToolsTree) -> None:
    """Write a new disk at `path` with the signed document in its slot, and the sealed key if there is one.

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
            file.seek(_PARTITION_OFFSET + volume.DOCUMENT_OFFSET)
            file.write(volume.encode_slot(dsse.encode(envelope)))
            if sealed_key is not None:
                file.seek(_PARTITION_OFFSET + volume.SEALED_KEY_OFFSET)
                file.write(volume.encode_slot(encode(sealed_key)))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
