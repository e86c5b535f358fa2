# SPDX-License-Identifier: Apache-2.0
"""Approvals that are given beside an image, and what each of them is over.

Owns the reading, and what belongs together: manifest, deployment documents and approvals of one model and one
policy key. Register 15 follows from the document, whose signature is not checked here: the machine checks it
before it extends, and a document that nobody signed leads to registers that no machine reaches.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mantlet.audit.image import Approval
from mantlet.edge import deployment_source, files, runtime_declaration
from mantlet.explain import account
from mantlet.release import manifest
from mantlet.release.manifest import Manifest
from mantlet.verifier.deployment import MeasuredDeployment, expected_deployment
from mantlet.weights import approved
from mantlet.weights.approved import Covered
from mantlet_measure import approvals, deployment
from mantlet_measure.approvals import Approvals
from mantlet_measure.errors import MantletError, UnavailableError
from mantlet_measure.evidence import State
from mantlet_measure.pcr import BANKS, ENFORCED, Bank
from mantlet_measure.sealed import policy_reference
from mantlet_measure.tpm_structs import name

_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """Approvals, and the deployment documents (or volumes) that they were given for.

    runtime: the image's declaration of the deployed runtime; None for this checkout's.
    """

    approvals: Path
    deployments: tuple[Path, ...]
    runtime: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Boot:
    """A boot of the image under a document: each policy over its registers, and the epoch it may have."""

    policies: Mapping[bytes, Covered]
    bound: int


def read(given: Given, manifest_bytes: bytes) -> tuple[Approval, ...]:
    """Return the approvals that name this image, or that let it open a key whatever they name.

    MantletError when the files do not belong together, UnavailableError when
    none of the approvals is about the image: nothing would have been looked at.
    """
    release, digest = manifest.decode(manifest_bytes), hashlib.sha256(manifest_bytes).digest()
    listed = approvals.decode(files.read(given.approvals, limit=_LIMIT, what=approvals.WHAT))
    boots = [
        boot
        for path in given.deployments
        for boot in _boots(release, _measured(path, given.runtime, listed, digest), listed)
    ]
    found = tuple(_found(release, listed, boots))
    if not found:
        named = {f"{item.image.id} {item.image.version}" for item in listed.approvals}
        raise UnavailableError(
            f"approvals {given.approvals}: expected one for {release.image.id} {release.image.version}, "
            f"found those for {', '.join(sorted(named))}",
            hint="give the approvals that are deployed with this image, or audit the image that they name",
        )
    return found


def _found(release: Manifest, listed: Approvals, boots: list[_Boot]) -> Iterator[Approval]:
    for number, item in enumerate(listed.approvals, start=1):
        # Of several documents and platforms, the one whose boot the policy says most of.
        covered = [
            (reading.registers, reading.epoch, boot.bound)
            for boot in boots
            if (reading := boot.policies.get(item.policy)) is not None
        ]
        names_it = (item.image.id, item.image.version) == (release.image.id, release.image.version)
        called = f"approval {number} of {item.image.id} {item.image.version}"
        if covered:
            registers, epoch, bound = max(covered, key=lambda reading: len(reading[0]))
            yield Approval(name=called, registers=registers, epoch=epoch, bound=bound)
        elif names_it:
            yield Approval(name=called, registers=None, epoch=None, bound=0)


def _measured(path: Path, runtime: Path | None, listed: Approvals, digest: bytes) -> MeasuredDeployment:
    payload = deployment_source.payload(path)
    declared = runtime_declaration.digest(runtime, runtime=deployment.decode(payload).runtime)
    measured = expected_deployment(payload, runtime_sha256=declared, state=State.AWAITING_KEY)
    document = measured.deployment
    for what, expected, found in (
        ("manifest", digest.hex(), document.manifest_sha256.hex()),
        ("policy key", name(listed.policy_key).hex(), document.policy_key.hex()),
        ("policy reference", listed.policy_ref, policy_reference(document.model.id)),
    ):
        if expected != found:
            raise MantletError(
                f"deployment document {path}: expected one of the {what} {expected}, found {found}",
                hint="give the image, the deployment document and the approvals of the same release",
            )
    return measured


def _boots(release: Manifest, measured: MeasuredDeployment, listed: Approvals) -> Iterator[_Boot]:
    for platform, described in release.platforms.items():
        told = account.with_words(account.of_manifest(release, platform, name=platform), measured.expected)
        values: dict[Bank, dict[int, bytes]] = {
            bank: {
                register: told.registers[register].values[bank]
                for register in ENFORCED
                if register in described.enforced
            }
            for bank in BANKS
        }
        epochs = [item.epoch for item in listed.approvals]
        yield _Boot(
            policies=approved.policies(values, epochs=epochs, policy_key=listed.policy_key),
            bound=min(release.image.epoch, measured.deployment.model.epoch),
        )
