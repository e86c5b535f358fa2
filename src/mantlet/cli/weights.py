# SPDX-License-Identifier: Apache-2.0
"""`mantlet weights`: the verbs of the model owner. Each sub-verb is a module of its own."""

import argparse

from mantlet.cli import weights_pack, weights_seal


def register(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `weights` and its sub-verbs."""
    parser = verbs.add_parser(
        "weights", help="pack a model; seal its key for one machine", description="What a model owner does."
    )
    below = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    weights_pack.register(below)
    weights_seal.register(below)
