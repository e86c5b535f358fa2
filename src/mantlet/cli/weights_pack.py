# SPDX-License-Identifier: Apache-2.0
"""`mantlet weights pack`: one model in, one encrypted disk image out, which its root hash names."""

import argparse
import re
from pathlib import Path

from mantlet.edge import output, pack
from mantlet.edge.tools import ToolsTree
from mantlet_measure.deployment import ID_PATTERN, model_to_value


def register(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `weights pack`."""
    parser = verbs.add_parser(
        "pack",
        help="encrypt a model into a disk image that its root hash names",
        description="Pack a GGUF, or a directory of files, as ID.raw, ID.json and ID.key. Needs no root.",
    )
    parser.add_argument(
        "model", type=Path, metavar="MODEL", help="a GGUF, or the directory of a model in several files"
    )
    parser.add_argument(
        "--id", required=True, type=_model_id, help="the model's name in the API and in documents"
    )
    parser.add_argument(
        "--output", type=Path, default=Path(), metavar="DIR", help="where the files go (default: here)"
    )
    parser.add_argument(
        "--key", type=Path, metavar="FILE", help="the data key, made if missing (default: ID.key)"
    )
    parser.add_argument("--file", metavar="NAME", help="of a directory, the file that the runtime opens")
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Pack the model and say what names it."""
    made = pack.write(
        arguments.model,
        arguments.output,
        model_id=arguments.id,
        file=arguments.file,
        key_file=arguments.key,
        tools=ToolsTree.current(),
    )
    descriptor = made.descriptor
    facts = {
        "image": str(made.image),
        "descriptor": str(made.descriptor_file),
        "key": str(made.key_file),
        "model": model_to_value(descriptor.model),
        "ciphertext_sha256": descriptor.ciphertext_sha256.hex(),
    }
    if arguments.json:
        output.document(facts)
        return 0
    output.result(f"image       {made.image}")
    output.result(f"descriptor  {made.descriptor_file}")
    output.result(f"key         {made.key_file} (secret: whoever has it can read the model)")
    output.result(f"root hash   {descriptor.model.root_hash.hex()}")
    return 0


def _model_id(text: str) -> str:
    if re.fullmatch(ID_PATTERN, text) is None:
        raise argparse.ArgumentTypeError(f"expected a name like {ID_PATTERN}, found {text!r}")
    return text
