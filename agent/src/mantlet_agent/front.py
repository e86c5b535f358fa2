# SPDX-License-Identifier: Apache-2.0
"""The way in for evidence and prompts: a TLS key of this boot, the front that holds it, the evidence process.

Owns when there is a network: the front's unit brings it, and nothing before the front does. So a machine that
has its key opens no port before the cap. What the front lets through is policy, and in its own configuration.
"""

from contextlib import suppress

from mantlet_agent import command, files, health, tls
from mantlet_agent.places import Places
from mantlet_agent.stages import Code

_STATUS = "/.well-known/mantlet/status"
_EVIDENCE_SECONDS = 90.0


def open_front(places: Places) -> None:
    """Start the evidence process and the front; return when evidence can be asked for. StageError."""
    # It takes seconds to load the TPM's library: meanwhile the key is made.
    command.start("mantlet-serve.service", failed=Code.EVIDENCE_FAILED)
    identity = tls.make_identity()
    files.write(places.tls_key, identity.key, mode=0o600)
    files.write(places.tls_certificate, identity.certificate, mode=0o644)
    files.write(places.tls_spki, identity.spki_sha256.hex().encode("ascii"), mode=0o644)
    command.start("mantlet-front.service", failed=Code.FRONT_FAILED)
    # The front's unit has taken a copy for itself.
    with suppress(FileNotFoundError):
        places.tls_key.unlink()
    health.require(places.evidence_socket, _STATUS, seconds=_EVIDENCE_SECONDS, failed=Code.EVIDENCE_FAILED)
