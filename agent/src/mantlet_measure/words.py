# SPDX-License-Identifier: Apache-2.0
"""The words that the agent extends into register 15, in order (docs/formats.md, *Agent words*).

Owns the vocabulary alone. The agent extends them and the verifier computes the register from them; neither is
here.
"""

from enum import StrEnum

from mantlet_measure.pcr import Event, Register, measured

CAP = "mantlet:cap"
FUSE_EVENT = "fuse"
_FUSE_PREFIX = "mantlet:fuse:"


class FuseKind(StrEnum):
    """Why the login fuse has burnt. Its word comes after all others, or it is not there."""

    PRESENT = "present"
    PROGRAM = "program"
    IDENTITY = "identity"
    SESSION = "session"
    TRACE = "trace"
    LOST = "lost"

    @property
    def word(self) -> str:
        """The word that is extended."""
        return f"{_FUSE_PREFIX}{self.value}"

    @property
    def meaning(self) -> str:
        """What has happened on the machine, as part of a sentence."""
        match self:
            case FuseKind.PRESENT:
                return "a process ran that is not on the list, before the watch began"
            case FuseKind.PROGRAM:
                return "a program started that is not on the list"
            case FuseKind.IDENTITY:
                return "a process became another user or group"
            case FuseKind.SESSION:
                return "a process opened a session, as a login does"
            case FuseKind.TRACE:
                return "a debugger was attached to a process"
            case FuseKind.LOST:
                return "the kernel dropped events of processes, so nobody knows what happened"


def fuse_kind(word: str) -> FuseKind | None:
    """Return why the fuse has burnt, by its word; None for any other word."""
    return next((kind for kind in FuseKind if kind.word == word), None)


def agent_words(
    *, deployment_sha256: bytes, runtime_sha256: bytes, root_hash: bytes, capped: bool
) -> tuple[tuple[str, str], ...]:
    """Return (event, word) in the order of extension; the word `cap` is there only if `capped`."""
    words = (
        ("deployment", f"mantlet:deployment:{deployment_sha256.hex()}"),
        ("runtime", f"mantlet:runtime:{runtime_sha256.hex()}"),
        ("weights", f"mantlet:weights:{root_hash.hex()}"),
    )
    return (*words, ("cap", CAP)) if capped else words


def agent_events(
    *, deployment_sha256: bytes, runtime_sha256: bytes, root_hash: bytes, capped: bool
) -> tuple[Event, ...]:
    """Return the same as events of register 15, with the digests of both banks."""
    words = agent_words(
        deployment_sha256=deployment_sha256, runtime_sha256=runtime_sha256, root_hash=root_hash, capped=capped
    )
    return tuple(
        measured(Register.SYSTEM_IDENTITY, word.encode("ascii"), type=event, description=word)
        for event, word in words
    )


def fuse_event(kind: FuseKind) -> Event:
    """Return the word of a burnt fuse as the event of register 15 that it is."""
    return measured(
        Register.SYSTEM_IDENTITY, kind.word.encode("ascii"), type=FUSE_EVENT, description=kind.word
    )
