# SPDX-License-Identifier: Apache-2.0
"""`mantlet deploy`: the signed deployment document, on the small disk that the agent reads it from."""

import argparse
from pathlib import Path

from mantlet.cli import remote_body
from mantlet.cli.verification import add_debug_option
from mantlet.edge import appraisal, deployment_disk, files, image, output, owner
from mantlet.edge.deployment_disk import Provision
from mantlet.edge.keys import KeyFolder
from mantlet.edge.profile import Profile
from mantlet.edge.tools import ToolsTree
from mantlet.release import debug_image
from mantlet.release.deployment import new_deployment, sign
from mantlet_measure import approvals, epoch, sealed
from mantlet_measure.errors import MantletError
from mantlet_measure.tpm_structs import name

_LIMIT = 1 << 20


def register(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `deploy`."""
    parser = verbs.add_parser(
        "deploy",
        help="write the signed deployment document and its volume",
        description="Tie a model to a release, sign that, and write the deployment volume.",
    )
    parser.add_argument("--id", required=True, metavar="NAME", help="the deployment's name")
    parser.add_argument(
        "--pack", type=Path, required=True, metavar="FILE", help="the descriptor of the model's pack"
    )
    parser.add_argument(
        "--owner-key",
        type=Path,
        metavar="FILE",
        help="PEM: who may sign the pack's descriptor (keys/owner.pem)",
    )
    parser.add_argument(
        "--policy-key",
        type=Path,
        metavar="FILE",
        help="PEM, P-256: whose approvals, alone, open the model's key there (keys/policy.pem)",
    )
    parser.add_argument(
        "--manifest", type=Path, metavar="FILE", help="measurements.json (default: of build/latest)"
    )
    parser.add_argument(
        "--runtime", default="llama-server", metavar="NAME", help="the runtime (llama-server)"
    )
    parser.add_argument(
        "--sealed-key", type=Path, metavar="FILE", help="a key sealed for this machine (else it awaits one)"
    )
    parser.add_argument(
        "--approvals", type=Path, metavar="FILE", help="which boots open the sealed key; needed with it"
    )
    parser.add_argument(
        "--epoch-statement", type=Path, metavar="FILE", help="raise the machine's epoch once it serves"
    )
    remote_body.add_options(parser)
    add_debug_option(parser)
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the volume's disk image")
    parser.set_defaults(handler=run, usage_error=parser.error)


def run(arguments: argparse.Namespace) -> int:
    """Sign and write."""
    kind = Profile.DEBUG if arguments.debug_image else Profile.RELEASE
    provision = _provision(arguments)
    policy_key = _policy_key(arguments.policy_key, keys=kind.keys())
    _require_policy_key(provision, policy_key)
    path = arguments.manifest or image.latest(kind) / "measurements.json"
    manifest = files.read(path, limit=_LIMIT, what="manifest")
    debug_image.require_manifest(manifest, debug=arguments.debug_image)
    model = owner.read_descriptor(arguments.pack, owner_key=arguments.owner_key).model
    document = new_deployment(
        manifest,
        model,
        id=arguments.id,
        runtime=arguments.runtime,
        policy_key=policy_key,
        fetch=remote_body.given(arguments, model),
    )
    envelope = sign(document, [kind.keys().deployment()])
    deployment_disk.write(arguments.output, envelope, provision=provision, tools=ToolsTree.current())
    if arguments.json:
        output.document(
            {
                "volume": str(arguments.output),
                "id": document.id,
                "model": model.id,
                "policy_key": policy_key.hex(),
            }
        )
    else:
        output.result(
            f"volume  {arguments.output}: {model.id} on {document.image_id} {document.image_version}"
        )
    return 0


def _policy_key(path: Path | None, *, keys: KeyFolder) -> bytes:
    """The Name of the policy key in a file; without one it is the checkout's, made when there is none."""
    if path is None:
        path = keys.folder / "policy.pem"
        if not path.exists():
            path = keys.policy()
    return appraisal.read_policy_key_name(path)


def _provision(arguments: argparse.Namespace) -> Provision:
    """Read what the volume is to hold beside the document."""

    def content(path: Path | None, what: str) -> bytes | None:
        return None if path is None else files.read(path, limit=_LIMIT, what=what)

    key = content(arguments.sealed_key, sealed.WHAT)
    listed = content(arguments.approvals, approvals.WHAT)
    statement = content(arguments.epoch_statement, epoch.WHAT)
    if (key is None) != (listed is None):
        arguments.usage_error("--sealed-key and --approvals go together")
    return Provision(
        sealed_key=None if key is None else sealed.decode(key),
        approvals=None if listed is None else approvals.decode(listed),
        epoch=None if statement is None else epoch.decode(statement),
    )


def _require_policy_key(provision: Provision, policy_key: bytes) -> None:
    """Refuse what the machine would refuse: documents of a policy key that its deployment does not name."""
    for option, document in (
        ("--sealed-key", provision.sealed_key),
        ("--approvals", provision.approvals),
        ("--epoch-statement", provision.epoch),
    ):
        if document is not None and (found := name(document.policy_key)) != policy_key:
            raise MantletError(
                f"{option}: expected a document of the policy key {policy_key.hex()}, "
                f"found one of {found.hex()}",
                hint="pass with --policy-key the key that made it",
            )
