# SPDX-License-Identifier: Apache-2.0
"""`mantlet weights`: the verbs of the model owner. Each sub-verb is a module of its own."""

import argparse

from mantlet.cli import (
    weights_extract,
    weights_inspect,
    weights_pack,
    weights_rekey,
    weights_rewrap,
    weights_seal,
    weights_verify,
)


def register(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `weights` and its sub-verbs."""
    parser = verbs.add_parser(
        "weights", help="pack a model; seal its key for one machine", description="What a model owner does."
    )
    below = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for verb in (
        weights_pack,
        weights_inspect,
        weights_verify,
        weights_rekey,
        weights_extract,
        weights_seal,
        weights_rewrap,
    ):
        verb.register(below)
