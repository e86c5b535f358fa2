# SPDX-License-Identifier: Apache-2.0
"""The boot process: a straight line of stages, each of which ends in a verdict or ends the machine.

Owns the order, and that every word is in register 15 before anything acts on what it names. What each stage
does is in the module that it calls. A failed boot is this process' exit code 1; its unit then powers the
machine off.
"""

from __future__ import annotations

import hashlib
import signal
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from mantlet_agent import files, inbox, inspection
from mantlet_agent.places import SERVE_UID, TCTI, Places
from mantlet_agent.record import Recorder
from mantlet_agent.stages import Code, Stage, StageError, State
from mantlet_measure import approvals as approval_documents
from mantlet_measure import handover as handovers
from mantlet_measure import sealed as sealed_keys
from mantlet_measure import strictjson, volume, words
from mantlet_measure.cel import AgentRecord, agent_record, encode_agent_log
from mantlet_measure.errors import DecodeError
from mantlet_measure.pcr import Register

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType, TracebackType

    from mantlet_agent.block import Partition
    from mantlet_agent.configuration import Configuration
    from mantlet_agent.release import Release
    from mantlet_agent.tpm import Tpm
    from mantlet_agent.unseal import SealedRelease
    from mantlet_measure.deployment import Deployment
    from mantlet_measure.handover import Handover

CAP_WORD = ("cap", words.CAP)


class _Running:
    """A stage in progress: whatever ends it becomes its verdict."""

    def __init__(self, recorder: Recorder, stage: Stage, *, state: State) -> None:
        self._recorder = recorder
        self._stage = stage
        self._state = state

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._recorder.conclude(self._stage, Code.OK, state=self._state)
        else:
            code = error.code if isinstance(error, StageError) else Code.UNEXPECTED
            self._recorder.conclude(self._stage, code)


class Boot:
    """One boot of one machine."""

    def __init__(self, places: Places, recorder: Recorder, *, serve_uid: int = SERVE_UID) -> None:
        """Take where things are, who records, and who may hand over a sealed key."""
        self._places = places
        self._recorder = recorder
        self._serve_uid = serve_uid
        self._log: list[AgentRecord] = []
        self._reachable = False

    def run(self) -> None:
        """Go through all stages. StageError at the first one that refuses."""
        with self._stage(Stage.INSPECT):
            tpm = self._open_tpm()
            inspection.inspect_tpm(tpm)
            inspection.copy_logs(self._places)
        with tpm:
            with self._stage(Stage.CONFIGURE):
                configuration = self.configure(tpm)
            with self._stage(Stage.WEIGHTS):
                weights = self.measure_weights(tpm, configuration)
            with ExitStack() as secrets:
                with self._stage(Stage.UNSEAL):
                    self.require_closed_kernel()
                    release, key = self.unseal(tpm, configuration)
                    secrets.callback(_wipe, key)
                with self._stage(Stage.CAP):
                    self.cap(tpm, release)
                with self._stage(Stage.LAUNCH):
                    self._launch(configuration, weights, key)
            with self._stage(Stage.SERVE, state=State.SERVING):
                inspection.copy_logs(self._places)
            self.raise_epoch(tpm, configuration, release)

    def _stage(self, stage: Stage, *, state: State = State.STARTING) -> _Running:
        return _Running(self._recorder, stage, state=state)

    def _start(self, units: Mapping[str, Code]) -> None:
        """Start units; with the first of them, what answers for evidence: until then there is no network."""
        from mantlet_agent import command, front

        if self._reachable:
            command.start(units)
            return
        front.make_key(self._places)
        command.start({**units, **front.UNITS})
        front.wait_for_answers(self._places)
        self._reachable = True

    def _open_tpm(self) -> Tpm:
        from mantlet_agent.tpm import Tpm

        return Tpm.open(TCTI)

    def configure(self, tpm: Tpm) -> Configuration:
        """Authenticate the deployment document and extend its word; only then act on what it says."""
        from mantlet_agent.configuration import read_configuration, require_runtime

        configuration = read_configuration(self._places)
        self._extend(tpm, configuration, "deployment")
        files.write(self._places.envelope, configuration.envelope, mode=0o644)
        require_runtime(configuration)
        return configuration

    def measure_weights(self, tpm: Tpm, configuration: Configuration) -> Partition | None:
        """Find the weights' partition, if they are on one; extend the words of runtime and weights."""
        from mantlet_agent.configuration import find_weights

        partition = find_weights(self._places, configuration.deployment)
        self._extend(tpm, configuration, "runtime")
        self._extend(tpm, configuration, "weights")
        return partition

    def require_closed_kernel(self) -> None:
        """See that no module comes into the kernel any more before a key does."""
        inspection.require_closed_kernel(self._places)

    def unseal(self, tpm: Tpm, configuration: Configuration) -> tuple[SealedRelease, bytearray]:
        """Release the data key: with what is on the volume, or with the first good handover."""
        from mantlet_agent.configuration import read_sealed_key

        deployment = configuration.deployment
        blob = read_sealed_key(configuration.volume)
        if blob is not None:
            return _release(tpm, deployment, _on_volume(configuration.volume, blob))
        self._start({})
        inspection.copy_logs(self._places)
        self._recorder.conclude(Stage.UNSEAL, Code.AWAITING_KEY, state=State.AWAITING_KEY)
        for blob in inbox.arrivals(self._places.inbox, owner=self._serve_uid):
            try:
                handover = _handed_over(blob)
                released = _release(tpm, deployment, handover)
            except StageError as refusal:
                self._recorder.note(Stage.UNSEAL, refusal.code, state=State.AWAITING_KEY)
                continue
            self._recorder.note(Stage.UNSEAL, Code.AWAITING_KEY, state=State.STARTING)
            _keep(configuration.volume, handover)
            return released
        raise AssertionError("arrivals end only with the process")

    def cap(self, tpm: Tpm, release: Release) -> None:
        """Extend the cap, then see that the same way releases nothing any more."""
        self._append(tpm, *CAP_WORD)
        release.prove_closed()

    def raise_epoch(self, tpm: Tpm, configuration: Configuration, release: SealedRelease) -> None:
        """Apply the epoch statement that the volume may hold. The machine serves, whatever comes of it."""
        from mantlet_agent.configuration import read_epoch_statement

        try:
            statement = read_epoch_statement(configuration.volume)
            if statement is None:
                return
            from mantlet_agent import epoch

            code = epoch.apply(tpm, release.counter, release.index, statement)
        except StageError as refusal:
            code = refusal.code
        self._recorder.note(Stage.SERVE, code, state=State.SERVING)

    def _launch(self, configuration: Configuration, weights: Partition | None, key: bytearray) -> None:
        from mantlet_agent import launch

        model = configuration.deployment.model
        watch = launch.open_weights(self._places, weights, model, key)
        # Side by side: the runtime loads its model while the evidence process loads the TPM's library.
        self._start(launch.runtime_unit(self._places, model))
        launch.wait_for_runtime(configuration.runtime, watch)

    def _extend(self, tpm: Tpm, configuration: Configuration, event: str) -> None:
        """Extend the word of `event` as the configuration makes it."""
        listed = words.agent_words(
            deployment_sha256=hashlib.sha256(configuration.payload).digest(),
            runtime_sha256=hashlib.sha256(configuration.runtime.declaration).digest(),
            root_hash=configuration.deployment.model.root_hash,
            capped=False,
        )
        self._append(tpm, event, dict(listed)[event])

    def _append(self, tpm: Tpm, event: str, word: str) -> None:
        """Log a word, then extend it: a quote in between is retried, a word missing from the log is not."""
        self._log.append(agent_record(len(self._log), event, word))
        files.write(self._places.agent_log, strictjson.encode(encode_agent_log(self._log)), mode=0o644)
        tpm.extend(Register.SYSTEM_IDENTITY, word.encode("ascii"))


def _on_volume(partition: Partition, sealed: bytes) -> Handover:
    """Decode the sealed key of the volume, and read the approvals beside it."""
    from mantlet_agent.configuration import read_approvals

    try:
        sealed_key = sealed_keys.decode(sealed)
    except DecodeError as error:
        raise StageError(Code.SEALED_KEY_MALFORMED, error.message) from error
    listed = read_approvals(partition)
    try:
        return handovers.Handover(sealed_key=sealed_key, approvals=approval_documents.decode(listed))
    except DecodeError as error:
        raise StageError(Code.APPROVALS_MALFORMED, error.message) from error


def _handed_over(blob: bytes) -> Handover:
    """Decode what `serve` has put down."""
    try:
        return handovers.decode(blob)
    except DecodeError as error:
        raise StageError(Code.SEALED_KEY_MALFORMED, error.message) from error


def _release(tpm: Tpm, deployment: Deployment, handover: Handover) -> tuple[SealedRelease, bytearray]:
    from mantlet_agent.configuration import require_deployed
    from mantlet_agent.unseal import SealedRelease

    require_deployed(deployment, handover.sealed_key)
    release = SealedRelease(tpm, handover.sealed_key, handover.approvals)
    return release, release.data_key()


def _keep(partition: Partition, handover: Handover) -> None:
    """Write what has proved good to the deployment volume, for the boots to come; the sealed key last."""
    from mantlet_agent.block import write_slot

    try:
        write_slot(partition, volume.APPROVALS_OFFSET, approval_documents.encode(handover.approvals))
        write_slot(partition, volume.SEALED_KEY_OFFSET, sealed_keys.encode(handover.sealed_key))
    except OSError as error:
        raise StageError(Code.VOLUME_UNREADABLE, str(error)) from error


def _wipe(key: bytearray) -> None:
    from mantlet_agent import kernel

    kernel.wipe(key)


def _say_nothing(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Stand in for the interpreter's traceback: the verdict of the stage has said what may be said."""


def interrupted(number: int, frame: FrameType | None) -> None:
    """Turn SIGTERM into the verdict of the stage that it ends."""
    raise StageError(Code.INTERRUPTED)


def main() -> int:
    """Boot the machine this runs on."""
    sys.excepthook = _say_nothing
    return live(Boot, Recorder)


def live(boot: Callable[[Places, Recorder], Boot], recorder: Callable[[Places], Recorder]) -> int:
    """Boot the machine this runs on by `boot`, as `recorder` records it; return the exit code."""
    signal.signal(signal.SIGTERM, interrupted)
    places = Places()
    for folder, mode in ((places.private, 0o700), (places.public, 0o755)):
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
    with recorder(places) as record:
        try:
            boot(places, record).run()
        except StageError:
            return 1
    return 0
