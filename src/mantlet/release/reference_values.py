# SPDX-License-Identifier: Apache-2.0
"""Reference values as types: an image, and what its boot leaves in the registers of each platform.

Owns the shape, and what is derived from it. Their spelling in JSON is `mantlet.release.manifest`'s matter.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from mantlet_measure.pcr import Bank


class Basis(StrEnum):
    """Where the value of a register comes from."""

    COMPUTED = "computed"
    RECORDED = "recorded"


class Proof(StrEnum):
    """How the predictions for a platform were proven."""

    BOOTED = "booted"
    """Machines were booted, and quoted what was predicted."""
    REPLAYED = "replayed"
    """The event logs of others' machines replay to what is predicted."""
    DERIVED = "derived"
    """They follow from documents and published values alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageIdentity:
    """Which image it is: its name, and the digests that its boot hangs on.

    An image that another recipe built may lack `id`, `version`, `roothash` and `epoch`, which are then empty,
    or 0.
    """

    id: str
    version: str
    architecture: str
    uki_sha256: bytes
    roothash: bytes
    cmdline: str
    stub: str
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestEvent:
    """One extend, in one bank, with the words that explain it."""

    digest: bytes
    type: str
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """The value of one register in one bank, and the events that make it from zero."""

    value: bytes
    events: tuple[ManifestEvent, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """The values on one kind of machine; `enforced` registers must be equal, others are for explanation.

    banks: SHA-256 and SHA-384 always, others as asked for. recorded: the registers whose values were taken
    from a boot under the firmware `firmware_sha256`, not computed. unpredictable: registers that nothing
    settles, each with the reason in words.
    """

    enforced: tuple[int, ...]
    banks: Mapping[Bank, Mapping[int, Expected]]
    recorded: tuple[int, ...] = ()
    firmware_sha256: bytes = b""
    unpredictable: Mapping[int, str] = field(default_factory=dict)
    tested: Proof = Proof.DERIVED

    @property
    def basis(self) -> Mapping[int, Basis]:
        """Where the value of each register comes from."""
        return {
            register: Basis.RECORDED if register in self.recorded else Basis.COMPUTED
            for register in self.banks[Bank.SHA256]
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The reference values of one image."""

    image: ImageIdentity
    platforms: Mapping[str, Platform]
