# SPDX-License-Identifier: Apache-2.0
"""`mantlet weights seal`: wrap the key of a model for one verified machine, approve its boot, hand both over.

With `--to`, the machine is verified first, in state awaiting-key; the key is then wrapped for the storage
root key that its TPM signed, and the registers that it signed are approved. With `--srk`, nothing is asked:
the storage root key is the caller's word, and the registers follow from the manifest, the deployment document
and the runtime declaration.
"""

import argparse
import secrets
import sys
from pathlib import Path

from mantlet.cli import approved_boot
from mantlet.cli.approved_boot import ApprovedBoot
from mantlet.cli.verification import add_options, attest_telling, read_question
from mantlet.client.handover import hand_over
from mantlet.edge import appraisal, files, output, owner
from mantlet.edge.https import AttestedConnection, address
from mantlet.release import manifest as manifests
from mantlet.verifier.steps import VerificationError, refusal_to_value
from mantlet.weights.descriptor import Descriptor
from mantlet.weights.seal import SealedModel, seal
from mantlet_measure import approvals as approval_documents
from mantlet_measure import sealed
from mantlet_measure.deployment import Model
from mantlet_measure.disk_key import DATA_KEY_SIZE, key_id
from mantlet_measure.errors import MantletError
from mantlet_measure.evidence import State
from mantlet_measure.handover import Handover

_LIMIT = 1 << 20


def register(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `weights seal`."""
    parser = verbs.add_parser(
        "seal",
        help="wrap a model's key for one machine",
        description="Verify a machine that awaits its key, wrap the key of a model for it, and hand it over.",
    )
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--to", type=address, metavar="HOST:PORT", help="the machine that awaits its key")
    target.add_argument(
        "--srk", type=Path, metavar="FILE", help="TPMT_PUBLIC of a storage root key: seal offline"
    )
    parser.add_argument("--key", type=Path, required=True, metavar="FILE", help="the data key of the pack")
    parser.add_argument("--pack", type=Path, required=True, metavar="FILE", help="the descriptor of the pack")
    parser.add_argument(
        "--owner-key",
        type=Path,
        metavar="FILE",
        help="PEM: who may sign the pack's descriptor (keys/owner.pem)",
    )
    parser.add_argument(
        "--policy-key", type=Path, required=True, metavar="FILE", help="PEM, P-256: approves boot states"
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="where to write the sealed key (needed by --srk)"
    )
    parser.add_argument(
        "--approvals", type=Path, metavar="FILE", help="where to write the approvals (needed by --srk)"
    )
    approved_boot.add_options(parser, required=False, note="with --srk: ")
    add_options(parser)
    parser.set_defaults(handler=run, usage_error=parser.error)


def run(arguments: argparse.Namespace) -> int:
    """Seal and approve, and hand over or write."""
    descriptor = owner.read_descriptor(arguments.pack, owner_key=arguments.owner_key)
    if arguments.srk is not None:
        return _seal_offline(arguments, descriptor)
    question = read_question(arguments, expected_state=State.AWAITING_KEY)
    output.step(f"Asking {arguments.to} for evidence…")
    with AttestedConnection(arguments.to, timeout=arguments.timeout) as connection:
        try:
            result = attest_telling(connection, question, _tell)
        except VerificationError as refusal:
            if not arguments.json:
                raise
            output.document(refusal_to_value(refusal))
            return 1
        boot = ApprovedBoot(
            image=manifests.decode(question.manifest).image,
            deployment=result.deployment,
            registers=result.registers,
        )
        output.step(f"Sealing the key of {boot.model.id} for this machine's TPM…")
        made = _made(arguments, descriptor, boot, srk_public=result.storage_key_public)
        _write(arguments, made)
        output.step("Handing it over…")
        hand_over(connection, made)
    return _report(arguments, made)


def _seal_offline(arguments: argparse.Namespace, descriptor: Descriptor) -> int:
    """Seal for a storage root key that the caller vouches for, and the registers that the release makes."""
    if None in (arguments.output, arguments.approvals, arguments.deployment):
        arguments.usage_error("--srk needs --output, --approvals and --deployment")
    question = read_question(arguments, expected_state=State.AWAITING_KEY)
    boot = approved_boot.computed(arguments, question)
    srk_public = files.read(arguments.srk, limit=_LIMIT, what="storage root key")
    made = _made(arguments, descriptor, boot, srk_public=srk_public)
    _write(arguments, made)
    return _report(arguments, made)


def _made(
    arguments: argparse.Namespace, descriptor: Descriptor, boot: ApprovedBoot, *, srk_public: bytes
) -> Handover:
    _check_model(descriptor.model, deployed=boot.model)
    data_key = files.read(arguments.key, limit=_LIMIT, what="data key")
    if len(data_key) == DATA_KEY_SIZE and key_id(data_key) != descriptor.key_id:
        raise MantletError(
            f"data key: expected key {descriptor.key_id.hex()}, as the pack's descriptor says, "
            f"found {key_id(data_key).hex()}",
            hint="pass the key file of this pack; `mantlet weights rekey` makes a new pack with a new key",
        )
    # First, because it refuses a policy key that the machine would not obey.
    approvals = approved_boot.approvals(boot, policy_key=arguments.policy_key)
    sealed_key = seal(
        data_key,
        srk_public=srk_public,
        model=SealedModel(id=boot.model.id, root_hash=boot.model.root_hash),
        policy_key=appraisal.read_policy_key(arguments.policy_key).public_key(),
        entropy=secrets.token_bytes,
    )
    return Handover(sealed_key=sealed_key, approvals=approvals)


def _check_model(model: Model, *, deployed: Model) -> None:
    """Refuse to seal the key of a pack that the deployment does not name."""
    if model != deployed:
        raise MantletError(
            f"pack: expected model {deployed.id} with root hash {deployed.root_hash.hex()}, as deployed, "
            f"found {model.id} with {model.root_hash.hex()}",
            hint="pass the descriptor and the key of the pack that the deployment document names",
        )


def _write(arguments: argparse.Namespace, made: Handover) -> None:
    if arguments.output is not None:
        files.write_atomic(arguments.output, sealed.encode(made.sealed_key))
    if arguments.approvals is not None:
        files.write_atomic(arguments.approvals, approval_documents.encode(made.approvals))


def _report(arguments: argparse.Namespace, made: Handover) -> int:
    where = str(arguments.output) if arguments.to is None else str(arguments.to)
    key, (approval,) = made.sealed_key, made.approvals.approvals
    if arguments.json:
        output.document(
            {
                "model": key.model,
                "root_hash": key.root_hash.hex(),
                "key_id": key.key_id.hex(),
                "epoch": approval.epoch,
                "sealed_for": where,
            }
        )
    else:
        output.result(
            f"sealed  {key.model} for {where}; only that machine's TPM opens it, in that boot state, "
            f"up to epoch {approval.epoch}"
        )
    return 0


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
