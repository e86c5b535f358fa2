# SPDX-License-Identifier: Apache-2.0
"""`mantlet weights rewrap`: wrap the key of a model for another machine, or put it under another policy key.

It changes who may open, and touches no weights: it needs the data key and the sealed key that there is, not
the pack. The storage root key is the caller's word. Approvals are the policy key's and hold for every
machine; a new policy key has to give its own (`mantlet release approve`).
"""

import argparse
import secrets
from pathlib import Path

from mantlet.edge import appraisal, files, output
from mantlet.weights.seal import SealedModel, seal
from mantlet_measure import sealed
from mantlet_measure.disk_key import DATA_KEY_SIZE, key_id
from mantlet_measure.errors import MantletError

_LIMIT = 1 << 20


def register(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `weights rewrap`."""
    parser = verbs.add_parser(
        "rewrap",
        help="wrap a model's key for another machine or policy key; touches no weights",
        description="Make a new sealed key from an older one and the data key.",
    )
    parser.add_argument("sealed_key", type=Path, metavar="SEALED-KEY", help="the sealed key that there is")
    parser.add_argument("--key", type=Path, required=True, metavar="FILE", help="the data key of the pack")
    parser.add_argument(
        "--srk",
        type=Path,
        required=True,
        metavar="FILE",
        help="TPMT_PUBLIC of the machine's storage root key",
    )
    parser.add_argument(
        "--policy-key", type=Path, required=True, metavar="FILE", help="PEM, P-256: who will approve of boots"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the new sealed key")
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Wrap anew and write."""
    before = sealed.decode(files.read(arguments.sealed_key, limit=_LIMIT, what=sealed.WHAT))
    data_key = files.read(arguments.key, limit=_LIMIT, what="data key")
    if len(data_key) == DATA_KEY_SIZE and key_id(data_key) != before.key_id:
        raise MantletError(
            f"data key: expected key {before.key_id.hex()}, as the sealed key says, "
            f"found {key_id(data_key).hex()}",
            hint="pass the key file of the pack that the sealed key is for",
        )
    after = seal(
        data_key,
        srk_public=files.read(arguments.srk, limit=_LIMIT, what="storage root key"),
        model=SealedModel(id=before.model, root_hash=before.root_hash),
        policy_key=appraisal.read_policy_key(arguments.policy_key).public_key(),
        entropy=secrets.token_bytes,
    )
    files.write_atomic(arguments.output, sealed.encode(after))
    kept = after.policy_key == before.policy_key
    if arguments.json:
        output.document({"model": after.model, "srk_name": after.srk_name.hex(), "approvals_hold": kept})
    else:
        output.result(f"sealed  {after.model} for the storage root key {after.srk_name.hex()}")
        output.result(
            "approvals of the same policy key hold" if kept else "another policy key: it has to approve anew"
        )
    return 0
