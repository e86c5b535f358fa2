# SPDX-License-Identifier: Apache-2.0
"""The way in for evidence and prompts: a TLS key of this boot, the front that holds it, the evidence process.

Owns when something listens: the front's unit brings the network, and but for weights that are fetched nothing
does before it. So a machine that has its key opens no port before the cap. The evidence process is there from
the start, and does nothing before the key is made. What the front lets through is policy, and in its own
configuration.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType

from mantlet_agent import files, health, tls
from mantlet_agent.places import FRONT_UID, Places
from mantlet_agent.stages import Code, StageError, blamed

UNITS: Mapping[str, Code] = MappingProxyType(
    {
        "mantlet-serve.service": Code.EVIDENCE_FAILED,
        "mantlet-front.service": Code.FRONT_FAILED,
    }
)
_STATUS = "/.well-known/mantlet/status"
_EVIDENCE_SECONDS = _FRONT_SECONDS = 90.0
_POLL_SECONDS = 0.05
# proc_pid_net(5): a line for each socket, in the state TCP_LISTEN of include/net/tcp_states.h.
_SOCKETS_LIMIT = 1 << 20
_STATE, _USER = 3, 7
_LISTEN = "0A"


def make_key(places: Places) -> None:
    """Make what the units need before they start: the TLS key of this boot, and its certificate."""
    identity = tls.make_identity()
    files.write(places.tls_key, identity.key, mode=0o600)
    files.write(places.tls_certificate, identity.certificate, mode=0o644)
    files.write(places.tls_spki, identity.spki_sha256.hex().encode("ascii"), mode=0o644)


def wait_for_answers(places: Places) -> None:
    """Remove our copy of the key, the front has its own; wait until both units answer. StageError."""
    with suppress(FileNotFoundError):
        places.tls_key.unlink()
    health.require(places.evidence_socket, _STATUS, seconds=_EVIDENCE_SECONDS, failed=Code.EVIDENCE_FAILED)
    # The unit has started when its program is executed, which has not read its configuration then.
    deadline = time.monotonic() + _FRONT_SECONDS
    with blamed(Code.FRONT_FAILED):
        while not _listens(places):
            if time.monotonic() > deadline:
                raise StageError(Code.FRONT_FAILED, f"it did not listen within {_FRONT_SECONDS} s")
            time.sleep(_POLL_SECONDS)


def _listens(places: Places) -> bool:
    """Whether a socket of the front's user listens."""
    _, *lines = files.read(places.tcp_sockets, limit=_SOCKETS_LIMIT).decode("ascii").splitlines()
    sockets = [line.split() for line in lines]
    return any(each[_STATE] == _LISTEN and int(each[_USER]) == FRONT_UID for each in sockets)
