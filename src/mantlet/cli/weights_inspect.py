# SPDX-License-Identifier: Apache-2.0
"""`mantlet weights inspect`: what a pack's descriptor says, once its signature has been checked."""

import argparse

from mantlet.cli import weights_opened
from mantlet.edge import output
from mantlet.weights.descriptor import to_value
from mantlet_measure.deployment import Model


def register(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `weights inspect`."""
    parser = verbs.add_parser(
        "inspect",
        help="say what a pack's descriptor says, its signature checked",
        description="Check the signature of a pack's descriptor and print what it says. Reads no image.",
    )
    weights_opened.add_options(parser, body=False)
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Print it."""
    descriptor = weights_opened.opened(arguments).descriptor
    value, model = to_value(descriptor), descriptor.model
    if arguments.json:
        output.document(value)
        return 0
    output.result(f"model       {model.id}, version {model.version}, epoch {model.epoch}")
    output.result(f"opens       {model.file}")
    output.result(f"root hash   {model.root_hash.hex()}")
    output.result(f"body        {_body(model)}, {value['cipher']}")
    output.result(f"ciphertext  {model.body_size:,} bytes, SHA-256 {descriptor.ciphertext_sha256.hex()}")
    output.result(f"key id      {descriptor.key_id.hex()}")
    output.result("signature   good, by a key of the model's owner")
    return 0


def _body(model: Model) -> str:
    if model.stream is not None:
        return f"a stream of {len(model.stream.files)} files, {model.stream.plain_size:,} bytes"
    return f"a disk: erofs of {model.hash_offset:,} bytes, hash tree of {model.size - model.hash_offset:,}"
