# SPDX-License-Identifier: Apache-2.0
"""The serve process: answers the front over a Unix socket, one connection after the other.

Owns the socket, the connection to the TPM and the reading of what `boot` has left. It starts with the machine
and loads its program; it listens, and asks the TPM for something, once `boot` lets evidence be asked for. One
thread: the TPM answers one question at a time, an ESAPI context belongs to one thread, and the front sends
whole requests and takes whole answers.
"""

from __future__ import annotations

import socket
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from mantlet_agent import files, http, inbox, stages
from mantlet_agent.http import RequestError, Response, Status
from mantlet_agent.places import TCTI, Places
from mantlet_agent.routes import BODY_LIMIT, Routes
from mantlet_agent.stages import Record, StageError, State
from mantlet_measure import deployment, dsse, strictjson, words
from mantlet_measure.cel import agent_record, decode_agent_log
from mantlet_measure.errors import DecodeError, shown
from mantlet_measure.evidence import Evidence
from mantlet_measure.evidence import State as EvidenceState

if TYPE_CHECKING:
    from collections.abc import Callable

    from mantlet_agent.attest import Attester, Situation
    from mantlet_measure.cel import AgentRecord

_BACKLOG = 32
_PATIENCE_SECONDS = 10.0
_FILE_LIMIT = 2 << 20
_WORD_LIMIT = 64
# udev gives the TPM's node to this user's group some time after the process starts.
_TPM_SECONDS = 60.0
_POLL_SECONDS = 0.2
_TURN_SECONDS = 0.05


class TpmWitness:
    """Evidence from the TPM of this machine."""

    def __init__(self, attester: Attester, places: Places) -> None:
        """Take the keys and where `boot` leaves things."""
        self._attester = attester
        self._places = places

    def evidence(self, nonce: bytes) -> Evidence:
        """Return evidence, if the machine awaits a key or serves. RequestError."""
        from mantlet_agent.attest import MovedError

        try:
            return self._attester.evidence(nonce, lambda: read_situation(self._places))
        except MovedError:
            raise RequestError(
                Status.UNAVAILABLE, "registers-moving", "the registers move: ask again"
            ) from None

    def activate(self, credential_blob: bytes, encrypted_secret: bytes) -> bytes:
        """Return the secret of a credential made for this machine. RequestError."""
        from mantlet_agent.attest import CredentialError

        try:
            return self._attester.activate(credential_blob, encrypted_secret)
        except CredentialError:
            raise RequestError(
                Status.BAD_REQUEST, "credential-refused", "the TPM did not open the credential"
            ) from None


def read_record(places: Places) -> Record:
    """Return the stages so far; an empty record before the first."""
    try:
        return stages.decode(files.read(places.stages, limit=_FILE_LIMIT))
    except FileNotFoundError:
        return Record(state=State.STARTING, verdicts=())


def read_situation(places: Places) -> Situation:
    """Return what evidence says besides the TPM's part. RequestError while the machine is starting."""
    from mantlet_agent.attest import Situation

    record = read_record(places)
    if record.state is State.STARTING:
        raise RequestError(Status.UNAVAILABLE, "not-ready", "the machine is starting: ask again")
    envelope = dsse.decode(files.read(places.envelope, limit=_FILE_LIMIT))
    agent_log = files.read(places.agent_log, limit=_FILE_LIMIT)
    return Situation(
        state=EvidenceState(record.state.value),
        manifest_sha256=deployment.decode(envelope.payload).manifest_sha256,
        tls_spki_sha256=bytes.fromhex(files.read(places.tls_spki, limit=_FILE_LIMIT).decode("ascii")),
        firmware_log=files.read(places.firmware_log_copy, limit=_FILE_LIMIT),
        system_log=files.read(places.system_log_copy, limit=_FILE_LIMIT),
        agent_log=with_fuse(places, decode_agent_log(strictjson.decode(agent_log, what="agent log"))),
        deployment=envelope,
    )


def with_fuse(places: Places, log: tuple[AgentRecord, ...]) -> tuple[AgentRecord, ...]:
    """Return the log with the word of a burnt fuse behind it, which is extended after all others."""
    try:
        word = files.read(places.fuse_word, limit=_WORD_LIMIT).decode("ascii", "replace")
    except FileNotFoundError:
        return log
    kind = words.fuse_kind(word)
    if kind is None:
        raise DecodeError("fuse word", expected="a word of the vocabulary", found=shown(word))
    return (*log, agent_record(len(log), words.FUSE_EVENT, kind.word))


def respond(routes: Routes, read: Callable[[int], bytes]) -> Response:
    """Answer what arrives on a connection, whatever it is."""
    try:
        return routes.respond(http.receive(read, limit=BODY_LIMIT))
    except RequestError as error:
        return http.refusal(error)
    except (StageError, DecodeError, OSError):
        # The TPM, or a file of `boot`, failed. What exactly is no business of a client.
        return http.refusal(RequestError(Status.UNAVAILABLE, "internal", "the machine could not answer"))


def _listen(places: Places) -> socket.socket:
    path = places.evidence_socket
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    # The folder belongs to this user and the front's group, and to nobody else.
    path.chmod(0o660)
    listener.listen(_BACKLOG)
    return listener


def _load_attester() -> Callable[[], Attester]:
    """Load the TPM's library, which takes longer than all else here; return what opens the TPM with it."""
    from mantlet_agent.attest import Attester
    from mantlet_agent.tpm import Tpm

    return lambda: Attester(Tpm.open(TCTI))


def wait_for_turn(places: Places) -> None:
    """Wait until `boot` has made this boot's TLS key: before it does, nobody can ask."""
    while not places.tls_spki.exists():
        time.sleep(_TURN_SECONDS)


def _opened(open_attester: Callable[[], Attester]) -> Attester:
    deadline = time.monotonic() + _TPM_SECONDS
    while True:
        try:
            return open_attester()
        except StageError:
            if time.monotonic() > deadline:
                raise
        time.sleep(_POLL_SECONDS)


def serve_forever(listener: socket.socket, routes: Routes) -> None:
    """Answer connections until the process ends."""
    while True:
        connection, _ = listener.accept()
        # A front that goes away, or stalls, costs its own answer and nobody else's.
        with connection, suppress(OSError):
            connection.settimeout(_PATIENCE_SECONDS)
            connection.sendall(http.encode(respond(routes, connection.recv)))


def main() -> int:
    """Serve on the machine this runs on."""
    sys.tracebacklimit = 0
    places = Places()
    open_attester = _load_attester()
    wait_for_turn(places)
    listener = _listen(places)
    try:
        witness = TpmWitness(_opened(open_attester), places)
    except StageError:
        return 1
    routes = Routes(
        witness=witness,
        record=lambda: read_record(places),
        hand_over=lambda blob: inbox.put(places.inbox, blob),
    )
    serve_forever(listener, routes)
    return 0
