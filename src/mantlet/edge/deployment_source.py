# SPDX-License-Identifier: Apache-2.0
"""Where a deployment document is read from: its envelope as a file, or the volume that carries it.

Owns the way from the disk image that `mantlet deploy` writes to the envelope in it (docs/formats.md,
*Deployment volume*). It checks no signature: what a document is compared with, or trusted for, is the
caller's matter.
"""

from pathlib import Path

from mantlet.edge import files
from mantlet.predict import gpt
from mantlet_measure import dsse, volume
from mantlet_measure.errors import DecodeError

_LIMIT = 16 << 20
_WHAT = "deployment"


def envelope(path: Path) -> dsse.Envelope:
    """Return the signed document, its signatures unchecked. DecodeError when there is none in the file."""
    data = files.read(path, limit=_LIMIT, what=_WHAT)
    disk = memoryview(data)
    return dsse.decode(data if gpt.sector_size(disk) is None else _slot(disk, path))


def payload(path: Path) -> bytes:
    """Return the document that is signed, whoever signed it. DecodeError when there is none in the file."""
    return envelope(path).payload


def _slot(disk: memoryview, path: Path) -> bytes:
    """Return what the slot of the document holds."""
    partitions = gpt.decode(disk).partitions
    start = next((item.offset for item in partitions if item.name == volume.PARTITION), None)
    if start is None:
        raise DecodeError(
            f"{_WHAT} {path}",
            expected=f"a partition {volume.PARTITION}",
            found=", ".join(item.name for item in partitions) or "none",
            hint="pass the volume that `mantlet deploy` wrote, or the document's envelope",
        )
    at = start + volume.DOCUMENT_OFFSET
    content = volume.decode_slot(bytes(disk[at : at + volume.SLOT_SIZE]))
    if content is None:
        raise DecodeError(
            f"{_WHAT} {path}",
            expected="a document in its slot",
            found="an empty slot",
            offset=at,
            hint="write the volume again: mantlet deploy",
        )
    return content
