# SPDX-License-Identifier: Apache-2.0
"""The way in for evidence and prompts: a TLS key of this boot, the front that holds it, the evidence process.

Owns when something listens: the front's unit brings the network, and but for weights that are fetched nothing
does before it. So a machine that has its key opens no port before the cap. What the front lets through is
policy, and in its own configuration.
"""

from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType

from mantlet_agent import files, health, tls
from mantlet_agent.places import Places
from mantlet_agent.stages import Code

UNITS: Mapping[str, Code] = MappingProxyType(
    {
        "mantlet-serve.service": Code.EVIDENCE_FAILED,
        "mantlet-front.service": Code.FRONT_FAILED,
    }
)
_STATUS = "/.well-known/mantlet/status"
_EVIDENCE_SECONDS = 90.0


def make_key(places: Places) -> None:
    """Make what the units need before they start: the TLS key of this boot, and its certificate."""
    identity = tls.make_identity()
    files.write(places.tls_key, identity.key, mode=0o600)
    files.write(places.tls_certificate, identity.certificate, mode=0o644)
    files.write(places.tls_spki, identity.spki_sha256.hex().encode("ascii"), mode=0o644)


def wait_for_evidence(places: Places) -> None:
    """Remove our copy of the key, the front has its own; wait until evidence answers. StageError."""
    with suppress(FileNotFoundError):
        places.tls_key.unlink()
    health.require(places.evidence_socket, _STATUS, seconds=_EVIDENCE_SECONDS, failed=Code.EVIDENCE_FAILED)
