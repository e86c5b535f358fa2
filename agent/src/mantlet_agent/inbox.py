# SPDX-License-Identifier: Apache-2.0
"""The hand-over of a sealed key and its approvals from `serve`, which hears the network, to `boot`, which
unseals.

Owns the one file between them: who may have written it and how large it may be. The content is as foreign as
any.
"""

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

from mantlet_agent import files
from mantlet_measure import handover
from mantlet_measure.errors import DecodeError

_POLL_SECONDS = 0.2
_MODE = 0o640


def put(inbox: Path, blob: bytes) -> None:
    """Put a blob down, in the place of the one before."""
    files.write(inbox, blob, mode=_MODE)


def arrivals(inbox: Path, *, owner: int) -> Iterator[bytes]:
    """Wait for blobs of the user `owner`, and give each one once. What is not a proper file is left alone."""
    last = b""
    while True:
        try:
            blob = files.read(inbox, limit=handover.LIMIT, owner=owner)
        except (OSError, DecodeError):
            blob = b""
        digest = hashlib.sha256(blob).digest()
        if blob and digest != last:
            last = digest
            yield blob
        else:
            time.sleep(_POLL_SECONDS)
