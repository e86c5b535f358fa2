# SPDX-License-Identifier: Apache-2.0
"""The model that tests use where any will do: always the same bytes, and small."""

import hashlib
import struct
import subprocess
import sys
from pathlib import Path

from mantlet.edge.attack import tiny_gguf


def test_the_model_is_the_same_in_every_process(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    for seed in ("0", "1"):
        argv = [sys.executable, str(tiny_gguf.__file__), str(path)]
        subprocess.run(argv, env={"PYTHONHASHSEED": seed}, check=True, timeout=60)
        assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(tiny_gguf.tiny_gguf()).digest()


def test_the_header_counts_what_follows() -> None:
    model = tiny_gguf.tiny_gguf()
    magic, version, tensors, metadata = struct.unpack_from("<4sIQQ", model)
    assert (magic, version, tensors, metadata) == (b"GGUF", 3, 3 + 9 * tiny_gguf.LAYERS, 20)
    assert len(model) % tiny_gguf.ALIGNMENT == 0
    assert len(model) < 600_000


def test_a_wider_model_is_larger_by_what_it_has_more() -> None:
    narrow, wide = (len(tiny_gguf.tiny_gguf(feed_forward=width)) for width in (2000, 3000))
    # Three tensors a layer, of four bytes a number.
    assert wide - narrow == tiny_gguf.LAYERS * 3 * tiny_gguf.WIDTH * 1000 * 4
