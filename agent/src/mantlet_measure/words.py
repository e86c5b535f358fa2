# SPDX-License-Identifier: Apache-2.0
"""The words that the agent extends into register 15, in order (docs/formats.md, *Agent words*).

Owns the vocabulary alone. The agent extends them and the verifier computes the register from them; neither is
here.
"""

from mantlet_measure.pcr import Event, Register, measured

CAP = "mantlet:cap"


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
