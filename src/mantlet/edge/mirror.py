# SPDX-License-Identifier: Apache-2.0
"""The Debian mirror: read from the host's apt configuration, or from MANTLET_MIRROR, and named nowhere else.

The Release file is fetched by apt itself, so that proxies and certificates of the host's configuration hold.
"""

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mantlet.edge import files, process
from mantlet_measure.errors import UnavailableError

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_APT_HELPER = "/usr/lib/apt/apt-helper"
_RELEASE_LIMIT = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """A mirror that has the suite, and the SHA-256 of its Release file: what is installed depends on it."""

    uri: str
    suite: str
    release_sha256: str


def find(suite: str) -> Mirror:
    """Find the first configured mirror that has `suite`. UnavailableError when there is none."""
    candidates = _candidates()
    for uri in candidates:
        release = _release(uri, suite)
        if release is not None:
            return Mirror(uri=uri, suite=suite, release_sha256=hashlib.sha256(release).hexdigest())
    raise UnavailableError(
        f"expected a mirror with the suite {suite}, found none among the {len(candidates)} that apt knows",
        hint="set MANTLET_MIRROR to the address of a Debian mirror, and check the network",
    )


def _candidates() -> list[str]:
    """Addresses in the order of the host's configuration, each once."""
    given = os.environ.get("MANTLET_MIRROR")
    if given:
        return [given.rstrip("/")]
    listed = process.run(["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"])
    return list(dict.fromkeys(line.rstrip("/") for line in listed.stdout.decode().split()))


def _release(uri: str, suite: str) -> bytes | None:
    """The bytes of the suite's InRelease, or None when the mirror does not have it."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "InRelease"
        # apt drops privileges for downloads; it may write here.
        Path(folder).chmod(0o777)
        done = process.run(
            [_APT_HELPER, "download-file", f"{uri}/dists/{suite}/InRelease", str(target)], check=False
        )
        if done.returncode != 0 or not target.exists():
            return None
        return files.read(target, limit=_RELEASE_LIMIT, what="Release file")
