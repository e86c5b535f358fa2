# SPDX-License-Identifier: Apache-2.0
"""What is approved of a boot, and where it comes from: `weights seal` and `release approve` share it.

A boot is taken from a machine that was verified, or computed from a release without any machine: from the
manifest, the signed deployment document and the runtime declaration of the image.
"""

import argparse
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mantlet.client.attest import Question
from mantlet.edge import appraisal, deployment_source, runtime_declaration
from mantlet.release import manifest as manifests
from mantlet.release.reference_values import ImageIdentity
from mantlet.verifier.deployment import expected_deployment
from mantlet.verifier.reference import reference_values
from mantlet.weights.approve import approve, policy_key_public
from mantlet_measure import deployment, dsse
from mantlet_measure.approvals import Approvals, Image
from mantlet_measure.deployment import PAYLOAD_TYPE, Deployment, Model
from mantlet_measure.errors import MantletError
from mantlet_measure.evidence import State
from mantlet_measure.pcr import Bank
from mantlet_measure.tpm_structs import name


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovedBoot:
    """A boot that may open the key of a model: whose image, and which registers when the key is asked for."""

    image: ImageIdentity
    deployment: Deployment
    registers: Mapping[Bank, Mapping[int, bytes]]

    @property
    def model(self) -> Model:
        """The model whose key it may open."""
        return self.deployment.model

    @property
    def epoch(self) -> int:
        """How far its approval reaches: the older of image and pack decides."""
        return min(self.image.epoch, self.model.epoch)


def add_options(parser: argparse.ArgumentParser, *, required: bool, note: str) -> None:
    """Add the options that stand for a machine. `note` says when they are needed."""
    parser.add_argument(
        "--deployment",
        type=Path,
        required=required,
        metavar="FILE",
        help=f"{note}the signed deployment document, or the volume that carries it",
    )
    parser.add_argument(
        "--runtime",
        type=Path,
        metavar="FILE",
        help=f"{note}the image's runtime declaration (default: this checkout's for the deployed runtime)",
    )


def computed(arguments: argparse.Namespace, question: Question) -> ApprovedBoot:
    """Compute the boot that a release makes under a deployment document. MantletError when they differ."""
    envelope = deployment_source.envelope(arguments.deployment)
    payload = dsse.authenticate(envelope, keys=question.trust.deployment_keys, payload_type=PAYLOAD_TYPE)
    runtime = runtime_declaration.digest(arguments.runtime, runtime=deployment.decode(payload).runtime)
    measured = expected_deployment(payload, runtime_sha256=runtime, state=State.AWAITING_KEY)
    if measured.deployment.manifest_sha256 != hashlib.sha256(question.manifest).digest():
        raise MantletError(
            f"deployment document: expected one for this manifest, found one for "
            f"{measured.deployment.manifest_sha256.hex()}",
            hint="pass the manifest and the deployment document of the same release",
        )
    release = manifests.decode(question.manifest)
    return ApprovedBoot(
        image=release.image,
        deployment=measured.deployment,
        registers=reference_values(release, question.trust, measured).values,
    )


def approvals(boot: ApprovedBoot, *, policy_key: Path) -> Approvals:
    """Approve the boot with the policy key in a file.

    MantletError for an image that has no epoch, or for a policy key that the deployment does not name.
    """
    key = appraisal.read_policy_key(policy_key)
    found = name(policy_key_public(key.public_key()))
    if found != boot.deployment.policy_key:
        raise MantletError(
            f"policy key: expected {boot.deployment.policy_key.hex()}, as the deployment document says, "
            f"found {found.hex()}",
            hint=f"pass the policy key that {boot.deployment.id} was deployed with, or deploy it again with "
            "`mantlet deploy --policy-key FILE`",
        )
    if boot.image.epoch == 0:
        raise MantletError(
            "manifest: expected an image with an epoch, found one without",
            hint="build the image again; its epoch is in image/parameters.yaml",
        )
    return approve(
        boot.registers,
        model_id=boot.model.id,
        epoch=boot.epoch,
        image=Image(id=boot.image.id, version=boot.image.version),
        policy_key=key,
    )
