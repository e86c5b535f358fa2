# SPDX-License-Identifier: Apache-2.0
"""`mantlet weights seal`: wrap the key of a model for one verified machine, and hand it over.

With `--to`, the machine is verified first, in state awaiting-key; the key is then sealed to the storage root
key and the registers that its TPM signed. With `--srk`, nothing is asked: the storage root key is the
caller's word, and the registers follow from the manifest, the deployment document and the runtime
declaration.
"""

import argparse
import hashlib
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

from mantlet.cli.verification import add_options, attest_telling, read_question
from mantlet.client.handover import hand_over
from mantlet.edge import appraisal, files, output
from mantlet.edge.https import AttestedConnection, address
from mantlet.release import manifest as manifests
from mantlet.verifier.deployment import expected_deployment
from mantlet.verifier.reference import reference_values
from mantlet.verifier.steps import VerificationError, refusal_to_value
from mantlet.weights import pack
from mantlet.weights.seal import SealedModel, seal
from mantlet_measure import dsse, sealed
from mantlet_measure.deployment import PAYLOAD_TYPE, Model
from mantlet_measure.errors import MantletError
from mantlet_measure.evidence import State
from mantlet_measure.pcr import Bank
from mantlet_measure.sealed import SealedKey

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
        "--policy-key", type=Path, required=True, metavar="FILE", help="PEM, P-256: approves boot states"
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="where to write the sealed key (needed by --srk)"
    )
    parser.add_argument(
        "--deployment", type=Path, metavar="FILE", help="with --srk: the signed deployment document"
    )
    parser.add_argument(
        "--runtime", type=Path, metavar="FILE", help="with --srk: the image's runtime declaration"
    )
    add_options(parser)
    parser.set_defaults(handler=run, usage_error=parser.error)


def run(arguments: argparse.Namespace) -> int:
    """Seal, and hand over or write."""
    model = pack.decode(files.read(arguments.pack, limit=_LIMIT, what="pack descriptor")).model
    if arguments.srk is not None:
        return _seal_offline(arguments, model)
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
        _check_model(model, deployed=result.deployment.model)
        output.step(f"Sealing the key of {model.id} for this machine's TPM…")
        key = _sealed_key(arguments, model, srk_public=result.storage_key_public, expected=result.registers)
        if arguments.output is not None:
            files.write_atomic(arguments.output, sealed.encode(key))
        output.step("Handing it over…")
        hand_over(connection, key)
    return _report(arguments, key)


def _seal_offline(arguments: argparse.Namespace, model: Model) -> int:
    """Seal for a storage root key that the caller vouches for, and the registers that the release makes."""
    if arguments.output is None or arguments.deployment is None or arguments.runtime is None:
        arguments.usage_error("--srk needs --output, --deployment and --runtime")
    question = read_question(arguments, expected_state=State.AWAITING_KEY)
    envelope = dsse.decode(files.read(arguments.deployment, limit=_LIMIT, what="deployment document"))
    payload = dsse.authenticate(envelope, keys=question.trust.deployment_keys, payload_type=PAYLOAD_TYPE)
    declaration = files.read(arguments.runtime, limit=_LIMIT, what="runtime declaration")
    measured = expected_deployment(
        payload, runtime_sha256=hashlib.sha256(declaration).digest(), state=State.AWAITING_KEY
    )
    _check_model(model, deployed=measured.deployment.model)
    if measured.deployment.manifest_sha256 != hashlib.sha256(question.manifest).digest():
        raise MantletError(
            f"deployment document: expected one for this manifest, found one for "
            f"{measured.deployment.manifest_sha256.hex()}",
            hint="pass the manifest and the deployment document of the same release",
        )
    reference = reference_values(manifests.decode(question.manifest), question.trust, measured)
    key = _sealed_key(
        arguments,
        model,
        srk_public=files.read(arguments.srk, limit=_LIMIT, what="storage root key"),
        expected=reference.values,
    )
    files.write_atomic(arguments.output, sealed.encode(key))
    return _report(arguments, key)


def _sealed_key(
    arguments: argparse.Namespace,
    model: Model,
    *,
    srk_public: bytes,
    expected: Mapping[Bank, Mapping[int, bytes]],
) -> SealedKey:
    return seal(
        files.read(arguments.key, limit=_LIMIT, what="data key"),
        srk_public=srk_public,
        model=SealedModel(id=model.id, root_hash=model.root_hash),
        expected=expected,
        policy_key=appraisal.read_policy_key(arguments.policy_key),
        entropy=secrets.token_bytes,
    )


def _check_model(model: Model, *, deployed: Model) -> None:
    """Refuse to seal the key of a pack that the deployment does not name."""
    if model != deployed:
        raise MantletError(
            f"pack: expected model {deployed.id} with root hash {deployed.root_hash.hex()}, as deployed, "
            f"found {model.id} with {model.root_hash.hex()}",
            hint="pass the descriptor and the key of the pack that the deployment document names",
        )


def _report(arguments: argparse.Namespace, key: SealedKey) -> int:
    where = str(arguments.output) if arguments.to is None else str(arguments.to)
    if arguments.json:
        output.document({"model": key.model, "root_hash": key.root_hash.hex(), "sealed_for": where})
    else:
        output.result(
            f"sealed  {key.model} for {where}; only that machine's TPM opens it, in that boot state"
        )
    return 0


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
