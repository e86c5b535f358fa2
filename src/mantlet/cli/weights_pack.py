# SPDX-License-Identifier: Apache-2.0
"""`mantlet weights pack`: one model in, one encrypted disk image out, which its root hash names."""

import argparse
import re
from pathlib import Path

from mantlet.edge import output, owner, pack
from mantlet.edge.pack import Body
from mantlet.edge.pack_plan import Label
from mantlet.edge.tools import ToolsTree
from mantlet_measure.deployment import EPOCH_LIMIT, ID_PATTERN, VERSION_PATTERN, model_to_value


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
    parser.add_argument(
        "--version", default="1", type=_version, help="of the model, in documents (default: 1)"
    )
    parser.add_argument(
        "--epoch", default=1, type=_epoch, help="below it, withdrawn packs get no key (default: 1)"
    )
    parser.add_argument(
        "--owner-key", type=Path, metavar="FILE", help="PEM, Ed25519: signs the descriptor (keys/owner.key)"
    )
    parser.add_argument(
        "--body",
        choices=[kind.value for kind in Body],
        default=Body.DISK.value,
        help="a disk that is mapped as it is read, or a stream for object stores (default: disk)",
    )
    parser.add_argument("--file", metavar="NAME", help="of a directory, the file that the runtime opens")
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Pack the model and say what names it."""
    made = pack.write(
        arguments.model,
        arguments.output,
        label=Label(id=arguments.id, version=arguments.version, epoch=arguments.epoch),
        file=arguments.file,
        key_file=arguments.key,
        owner=owner.signing_key(arguments.owner_key),
        tools=ToolsTree.current(),
        body=Body(arguments.body),
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


def _version(text: str) -> str:
    if re.fullmatch(VERSION_PATTERN, text) is None:
        raise argparse.ArgumentTypeError(f"expected a version like {VERSION_PATTERN}, found {text!r}")
    return text


def _epoch(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:11]) <= EPOCH_LIMIT:
        raise argparse.ArgumentTypeError(f"expected an epoch from 1 to {EPOCH_LIMIT}, found {text!r}")
    return int(text)
