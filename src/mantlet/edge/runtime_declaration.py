# SPDX-License-Identifier: Apache-2.0
"""The runtime declaration as the image holds it, whose digest the agent extends into register 15.

Owns the way from a policy (YAML) to those bytes: canonical JSON, as the recipe renders it. A file in that
form already is taken as it is. It judges nothing that a declaration says.
"""

import hashlib
from pathlib import Path

from mantlet.edge import files, project, strict_yaml
from mantlet_measure import strictjson

_LIMIT = 1 << 20
_WHAT = "runtime declaration"


def digest(path: Path | None, *, runtime: str) -> bytes:
    """Return the SHA-256 of the declaration in `path`, or of this checkout's for the runtime of that name."""
    declaration = path or project.root() / "policies" / "runtime" / f"{runtime}.yaml"
    if declaration.suffix == ".yaml":
        content = strictjson.encode(strict_yaml.read(declaration, what=_WHAT))
    else:
        content = files.read(declaration, limit=_LIMIT, what=_WHAT)
    return hashlib.sha256(content).digest()
