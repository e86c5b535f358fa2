# SPDX-License-Identifier: Apache-2.0
"""The closed vocabulary of a boot: stages, codes, states (docs/formats.md, *Agent lines*).

Owns the words, what each means, and the document that records them. It writes nothing: `record` does.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from mantlet_measure import strictjson
from mantlet_measure.errors import MantletError
from mantlet_measure.strictjson import Fields

FORMAT = "mantlet-stages/v1"


class Stage(StrEnum):
    """The stages, in the order in which a boot goes through them."""

    INSPECT = "inspect"
    CONFIGURE = "configure"
    WEIGHTS = "weights"
    UNSEAL = "unseal"
    CAP = "cap"
    LAUNCH = "launch"
    SERVE = "serve"


class State(StrEnum):
    """What the machine as a whole is doing. The last two are those of evidence."""

    STARTING = "starting"
    AWAITING_KEY = "awaiting-key"
    SERVING = "serving"


class Code(StrEnum):
    """How a stage ended."""

    OK = "ok"
    AWAITING_KEY = "awaiting-key"

    TPM_ABSENT = "tpm-absent"
    BANKS_INACTIVE = "banks-inactive"
    REGISTERS_EMPTY = "registers-empty"
    REGISTER_USED = "register-used"
    FIRMWARE_LOG_ABSENT = "firmware-log-absent"
    SYSTEM_LOG_ABSENT = "system-log-absent"
    PHASE_ABSENT = "phase-absent"

    VOLUME_ABSENT = "volume-absent"
    VOLUME_AMBIGUOUS = "volume-ambiguous"
    VOLUME_UNREADABLE = "volume-unreadable"
    DOCUMENT_ABSENT = "document-absent"
    DOCUMENT_MALFORMED = "document-malformed"
    DOCUMENT_UNSIGNED = "document-unsigned"
    DOCUMENT_FOREIGN = "document-foreign"
    RUNTIME_UNKNOWN = "runtime-unknown"

    WEIGHTS_ABSENT = "weights-absent"
    WEIGHTS_AMBIGUOUS = "weights-ambiguous"
    WEIGHTS_TRUNCATED = "weights-truncated"
    WEIGHTS_GROWN = "weights-grown"

    KERNEL_OPEN = "kernel-open"
    SEALED_KEY_MALFORMED = "sealed-key-malformed"
    SEALED_KEY_FOREIGN = "sealed-key-foreign"
    POLICY_KEY_FOREIGN = "policy-key-foreign"
    SEALED_KEY_UNAPPROVED = "sealed-key-unapproved"
    SEALED_KEY_REFUSED = "sealed-key-refused"
    APPROVALS_ABSENT = "approvals-absent"
    APPROVALS_MALFORMED = "approvals-malformed"
    APPROVALS_FOREIGN = "approvals-foreign"
    STORAGE_KEY_FOREIGN = "storage-key-foreign"
    EPOCH_COUNTER_ABSENT = "epoch-counter-absent"
    EPOCH_COUNTER_FOREIGN = "epoch-counter-foreign"
    EPOCH_PAST = "epoch-past"

    CAP_NOT_EFFECTIVE = "cap-not-effective"

    MAPPING_FAILED = "mapping-failed"
    FETCH_FAILED = "fetch-failed"
    WEIGHTS_CORRUPT = "weights-corrupt"
    MODEL_ABSENT = "model-absent"
    RUNTIME_FAILED = "runtime-failed"
    FRONT_FAILED = "front-failed"
    EVIDENCE_FAILED = "evidence-failed"

    EPOCH_RAISED = "epoch-raised"
    EPOCH_REFUSED = "epoch-refused"

    TPM_ERROR = "tpm-error"
    INTERRUPTED = "interrupted"
    UNEXPECTED = "unexpected"

    @property
    def meaning(self) -> str:
        """What the code says, in one sentence."""
        return MEANINGS[self]


MEANINGS: Mapping[Code, str] = MappingProxyType(
    {
        Code.OK: "The stage is complete.",
        Code.AWAITING_KEY: "The deployment volume holds no sealed key; the machine waits for one.",
        Code.TPM_ABSENT: "No TPM answers at the kernel's resource manager.",
        Code.BANKS_INACTIVE: "The TPM lacks SHA-256 or SHA-384 registers, or has a bank we cannot extend.",
        Code.REGISTERS_EMPTY: "Register 0 or 7 is zero: the firmware has measured nothing.",
        Code.REGISTER_USED: "Register 15 is not zero: it was extended before, or the agent ran twice.",
        Code.FIRMWARE_LOG_ABSENT: "The kernel has no firmware event log.",
        Code.SYSTEM_LOG_ABSENT: "systemd has written no measurement log.",
        Code.PHASE_ABSENT: "The measurement log lacks the phase enter-initrd.",
        Code.VOLUME_ABSENT: "No partition is named mantlet-deployment.",
        Code.VOLUME_AMBIGUOUS: "More than one partition is named mantlet-deployment.",
        Code.VOLUME_UNREADABLE: "The deployment volume cannot be read or written, or is too small.",
        Code.DOCUMENT_ABSENT: "The document slot of the deployment volume is empty.",
        Code.DOCUMENT_MALFORMED: "The deployment document or its envelope breaks its format.",
        Code.DOCUMENT_UNSIGNED: "No key that the image trusts has signed the deployment document.",
        Code.DOCUMENT_FOREIGN: "The deployment document names another image, or another version of it.",
        Code.RUNTIME_UNKNOWN: "The deployment document names a runtime that the image does not declare.",
        Code.WEIGHTS_ABSENT: "No partition is named mantlet-weights.",
        Code.WEIGHTS_AMBIGUOUS: "More than one partition is named mantlet-weights.",
        Code.WEIGHTS_TRUNCATED: "The weights partition is smaller than the deployment document says.",
        Code.WEIGHTS_GROWN: "The weights partition is larger than the deployment document says.",
        Code.KERNEL_OPEN: "The kernel still takes modules, long after the last one was due.",
        Code.SEALED_KEY_MALFORMED: "The sealed key, or its slot, breaks its format.",
        Code.SEALED_KEY_FOREIGN: "The sealed key is another model's, or is wrapped for another TPM.",
        Code.POLICY_KEY_FOREIGN: "The deployment document names another policy key than the sealed key.",
        Code.SEALED_KEY_UNAPPROVED: "No approval covers the registers of this boot.",
        Code.SEALED_KEY_REFUSED: "The TPM refused the approval or the unsealing.",
        Code.APPROVALS_ABSENT: "The deployment volume holds a sealed key and no approvals.",
        Code.APPROVALS_MALFORMED: "The approvals, or their slot, break their format.",
        Code.APPROVALS_FOREIGN: "The approvals are another policy key's, or for another model's keys.",
        Code.STORAGE_KEY_FOREIGN: "Another key is where the TPM's storage root key has to stay.",
        Code.EPOCH_COUNTER_ABSENT: "The TPM has an owner, and no epoch counter of this policy key.",
        Code.EPOCH_COUNTER_FOREIGN: "The epoch counter's index is not the one that policies name.",
        Code.EPOCH_PAST: "The epoch counter stands above the epoch of the approval of this boot.",
        Code.CAP_NOT_EFFECTIVE: "After the cap the TPM released the key again.",
        Code.MAPPING_FAILED: "The kernel did not accept the mapping of the weights.",
        Code.FETCH_FAILED: "The weights did not come, whole, from where the deployment document says.",
        Code.WEIGHTS_CORRUPT: "What the mapping shows is not the model that the deployment document names.",
        Code.MODEL_ABSENT: "The mounted weights lack the model's file.",
        Code.RUNTIME_FAILED: "The runtime did not start, or did not report health in time.",
        Code.FRONT_FAILED: "The TLS front did not start.",
        Code.EVIDENCE_FAILED: "The evidence process did not start, or did not answer in time.",
        Code.EPOCH_RAISED: "The machine serves, and its epoch counter was raised as the statement says.",
        Code.EPOCH_REFUSED: "The machine serves, and the epoch statement on its volume was refused.",
        Code.TPM_ERROR: "The TPM failed a command that has nothing to refuse.",
        Code.INTERRUPTED: "The machine was told to power off while the stage ran.",
        Code.UNEXPECTED: "Something happened that the agent has no code for.",
    }
)


class StageError(MantletError):
    """A stage that ends the boot, with its code. The message is for tests and never leaves the machine."""

    def __init__(self, code: Code, message: str = "") -> None:
        """Take the code and, for whoever debugs the agent, what was expected and found."""
        super().__init__(message or code.meaning, hint=f"look up {code.value} in mantlet_agent/stages.py")
        self.code = code


@contextmanager
def blamed(failed: Code) -> Iterator[None]:
    """Name the cause of an interruption inside the block.

    A unit of the chain that fails has the machine powered off by itself, and what was waited for is the
    likeliest to have failed.
    """
    try:
        yield
    except StageError as error:
        if error.code is Code.INTERRUPTED:
            raise StageError(failed, error.message) from error
        raise


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The state and the verdicts so far, in order."""

    state: State
    verdicts: tuple[tuple[Stage, Code], ...]


def encode(record: Record) -> bytes:
    """Return the document that `boot` leaves for `serve`."""
    return strictjson.encode(
        {
            "format": FORMAT,
            "state": record.state.value,
            "stages": [{"stage": stage.value, "code": code.value} for stage, code in record.verdicts],
        }
    )


def decode(data: bytes) -> Record:
    """Decode what `encode` wrote. DecodeError on anything else."""
    what = "stages"
    fields = Fields(strictjson.decode(data, what=what), what)
    fields.constant("format", FORMAT)
    state = fields.text("state", pattern="|".join(State))
    verdicts = []
    for item in fields.sequence("stages"):
        entry = Fields(item, what)
        verdicts.append(
            (
                Stage(entry.text("stage", pattern="|".join(Stage))),
                Code(entry.text("code", pattern="|".join(Code))),
            )
        )
        entry.done()
    fields.done()
    return Record(state=State(state), verdicts=tuple(verdicts))
