# SPDX-License-Identifier: Apache-2.0
"""The appraisal policy: whom to trust, and the least that reference values must pin
(policies/appraisal/*.yaml).

Owns the type and its strict decoding from a mapping; the YAML is read by the edge. A policy holds no digest:
releases say what is expected, a policy says who may speak. A policy that trusts nothing refuses to be
decoded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from mantlet_measure.errors import MantletError
from mantlet_measure.strictjson import Fields

FORMAT = "mantlet-appraisal/v1"
_WORD = r"[a-z0-9][a-z0-9.-]{0,62}"
_MODEL = r"[ -~]{1,64}"


class SoftwareTpm(StrEnum):
    """What a policy says of endorsement keys that live in software."""

    ACCEPT = "accept"
    REFUSE = "refuse"


class FusePolicy(StrEnum):
    """What a policy says of a machine whose login fuse has burnt."""

    ACCEPT = "accept"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class AppraisalPolicy:
    """A decoded policy: its lists are not empty.

    platforms: the platforms whose reference values it takes; registers: those that the reference values must
    enforce; software_models: TPM models (TCG EK Credential Profile, tpmModel) known to be software; fuse: a
    burnt fuse is refused unless the policy says otherwise.
    """

    name: str
    platforms: tuple[str, ...]
    registers: tuple[int, ...]
    software_tpm: SoftwareTpm
    software_models: tuple[str, ...]
    fuse: FusePolicy = FusePolicy.REFUSE

    @property
    def headline(self) -> str:
        """The first line of every verdict under this policy."""
        if self.software_tpm is SoftwareTpm.ACCEPT:
            return (
                f"{self.name.upper()} POLICY: the TPM is software "
                "whose endorsement key was certified on this machine; "
                "whoever runs the machine can forge every register. Good for tests, worthless as proof."
            )
        return f"Policy {self.name}: endorsement keys of hardware TPMs only."


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Whom a relying party believes: under a policy, these endorsers and these signers of deployments.

    platform: which of the manifest's platforms the machine is; None if there is only one that the policy
    takes.
    """

    policy: AppraisalPolicy
    ek_certificates: tuple[x509.Certificate, ...]
    deployment_keys: tuple[Ed25519PublicKey, ...]
    platform: str | None = None

    def __post_init__(self) -> None:
        """Refuse to trust nobody: an empty list would make a check that cannot pass look like one that was
        made."""
        if not self.ek_certificates:
            raise MantletError(
                "no endorsement root is trusted: expected at least one certificate, found none",
                hint="pass the TPM manufacturer's CA certificates with --ek-roots FILE.pem",
            )
        if not self.deployment_keys:
            raise MantletError(
                "no deployment key is trusted: expected at least one Ed25519 public key, found none",
                hint="pass the keys that may sign deployments with --deployment-key FILE.pem",
            )


def decode(value: object) -> AppraisalPolicy:
    """Decode a policy from the value its YAML holds. DecodeError on anything else, empty lists included."""
    fields = Fields(value, "appraisal policy")
    fields.constant("format", FORMAT)
    name = fields.text("name", pattern=_WORD)
    platforms = _words(fields, "platforms", _WORD)
    registers = fields.sequence("registers", limit=16)
    chosen = tuple(item for item in registers if type(item) is int and 0 <= item <= 15)
    if not chosen or len(chosen) != len(registers) or list(chosen) != sorted(set(chosen)):
        fields.refuse("registers", "a list of register numbers from 0 to 15, ascending, not empty")
    tpm = fields.fields("tpm")
    software = SoftwareTpm(tpm.text("software", pattern="accept|refuse"))
    models = _words(tpm, "software_models", _MODEL)
    tpm.done()
    fuse = fields.text("fuse", pattern="accept|refuse") if fields.has("fuse") else FusePolicy.REFUSE
    fields.done()
    return AppraisalPolicy(
        name=name,
        platforms=platforms,
        registers=chosen,
        software_tpm=software,
        software_models=models,
        fuse=FusePolicy(fuse),
    )


def _words(fields: Fields, name: str, pattern: str) -> tuple[str, ...]:
    items: Sequence[object] = fields.sequence(name, limit=64)
    if not items:
        fields.refuse(name, "a list that is not empty: what trusts nothing accepts nothing")
    listed = Fields({str(index): item for index, item in enumerate(items)}, f"{fields.what}: {name}")
    return tuple(listed.text(str(index), pattern=pattern) for index in range(len(items)))
