# SPDX-License-Identifier: Apache-2.0
"""The digest of a runtime declaration is the one of the bytes that the recipe puts into the image."""

import hashlib
import json
from pathlib import Path

import yaml

from mantlet.edge import project, runtime_declaration


def test_the_policy_and_the_form_in_the_image_have_one_digest(tmp_path: Path) -> None:
    policy = project.root() / "policies" / "runtime" / "llama-server.yaml"
    # Canonical JSON by another implementation.
    canonical = json.dumps(
        yaml.safe_load(policy.read_bytes()), sort_keys=True, separators=(",", ":")
    ).encode()
    rendered = tmp_path / "runtime.json"
    rendered.write_bytes(canonical)
    expected = hashlib.sha256(canonical).digest()
    assert runtime_declaration.digest(policy, runtime="") == expected
    assert runtime_declaration.digest(rendered, runtime="") == expected
    assert runtime_declaration.digest(None, runtime="llama-server") == expected
