# SPDX-License-Identifier: Apache-2.0
"""`mantlet release`: what is signed of a release: the build on its report, approvals of boots, epochs.

`report` and `sign` have a module of their own. `approve` signs the boot that a release makes under a
deployment document, for every machine at once; no machine is asked. `epoch raise` signs the statement after
which a machine gives no key to what is older.
"""

import argparse
from pathlib import Path

from mantlet.cli import approved_boot, release_report
from mantlet.cli.verification import add_options, read_question
from mantlet.edge import appraisal, files, output
from mantlet.weights.approve import merged, raise_epoch
from mantlet_measure import approvals as documents
from mantlet_measure import epoch as statements
from mantlet_measure.deployment import EPOCH_LIMIT
from mantlet_measure.evidence import State

_LIMIT = 1 << 20


def register(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `release` and its sub-verbs."""
    parser = verbs.add_parser(
        "release",
        help="report on a build and sign it; approve a boot; raise the epoch",
        description="What the release key and the policy key sign.",
    )
    below = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    release_report.register(below)
    _register_approve(below)
    epoch = below.add_parser("epoch", help="raise the epoch", description="Statements about the epoch.")
    _register_raise(epoch.add_subparsers(title="verbs", metavar="VERB", required=True))


def _register_approve(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser(
        "approve",
        help="let the boot of a release open a model's key, on every machine it is sealed for",
        description="Compute the boot that a release makes under a deployment document, and sign it.",
    )
    _add_policy_key(parser)
    parser.add_argument(
        "--add-to", type=Path, metavar="FILE", help="approvals of earlier releases, to be kept in the result"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the approvals")
    approved_boot.add_options(parser, required=True, note="")
    add_options(parser)
    parser.set_defaults(handler=approve)


def _register_raise(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser(
        "raise",
        help="sign that machines go up to an epoch, and never back",
        description="Sign a statement; `mantlet deploy --epoch-statement` takes it to a machine.",
    )
    parser.add_argument(
        "epoch", type=_epoch, metavar="N", help="images and packs below it get no key any more"
    )
    _add_policy_key(parser)
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the statement")
    parser.set_defaults(handler=raise_to)


def approve(arguments: argparse.Namespace) -> int:
    """Sign the approval of one boot and write it, with those that there were."""
    boot = approved_boot.computed(arguments, read_question(arguments, expected_state=State.AWAITING_KEY))
    made = approved_boot.approvals(boot, policy_key=arguments.policy_key)
    if arguments.add_to is not None:
        older = documents.decode(files.read(arguments.add_to, limit=_LIMIT, what=documents.WHAT))
        made = merged(older, made)
    files.write_atomic(arguments.output, documents.encode(made))
    facts = {
        "image": f"{boot.image.id} {boot.image.version}",
        "model": boot.model.id,
        "epoch": boot.epoch,
        "approvals": len(made.approvals),
    }
    if arguments.json:
        output.document(facts)
    else:
        output.result(
            f"approved  {facts['image']} for {boot.model.id}, up to epoch {boot.epoch}; "
            f"{arguments.output} holds {len(made.approvals)}"
        )
    return 0


def raise_to(arguments: argparse.Namespace) -> int:
    """Sign the statement and write it."""
    key = appraisal.read_policy_key(arguments.policy_key)
    statement = raise_epoch(arguments.epoch, policy_key=key)
    files.write_atomic(arguments.output, statements.encode(statement))
    if arguments.json:
        output.document({"epoch": statement.epoch, "statement": str(arguments.output)})
    else:
        output.result(
            f"epoch  {statement.epoch}: {arguments.output}; a machine that applied it never goes back"
        )
    return 0


def _add_policy_key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--policy-key", type=Path, required=True, metavar="FILE", help="PEM, P-256: approves boot states"
    )


def _epoch(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= EPOCH_LIMIT:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to {EPOCH_LIMIT}, found {text!r}")
    return int(text)
