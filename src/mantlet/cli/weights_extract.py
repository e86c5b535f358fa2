# SPDX-License-Identifier: Apache-2.0
"""`mantlet weights extract`: the model's files out of a pack, each byte verified before it is written.

An interrupted run is gone on with: what it wrote is held against the pack again.
"""

import argparse
from pathlib import Path

from mantlet.cli import weights_opened
from mantlet.edge import chunks, output, pack_extract, pack_files, stream_extract


def register(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `weights extract`."""
    parser = verbs.add_parser(
        "extract",
        help="take the model's files out of a pack, verified",
        description="Decrypt a pack, verify it, and write the model's files. None of them has its name "
        "before all are complete. An interrupted run is gone on with by the same command.",
    )
    weights_opened.add_options(parser, body=True)
    parser.add_argument("--key", type=Path, required=True, metavar="FILE", help="the data key of the pack")
    parser.add_argument(
        "--output", type=Path, default=Path(), metavar="DIR", help="where the files go (default: here)"
    )
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the files and name them."""
    pack = weights_opened.opened(arguments)
    descriptor, key = pack.descriptor, pack_files.read_key(arguments.key)
    output.step(f"Extracting {descriptor.model.id}…")
    if descriptor.model.stream is not None:
        with pack.source() as source:
            paths = stream_extract.extract(source, descriptor, arguments.output, data_key=key)
    else:
        with chunks.workers(descriptor.model.size) as executor:
            paths = pack_extract.extract(
                pack.image, descriptor, arguments.output, data_key=key, executor=executor
            )
    if arguments.json:
        output.document({"model": descriptor.model.id, "files": [str(path) for path in paths]})
    else:
        for path in paths:
            output.result(str(path))
    return 0
