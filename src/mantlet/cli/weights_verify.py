# SPDX-License-Identifier: Apache-2.0
"""`mantlet weights verify`: hold every byte of a pack against its signed descriptor."""

import argparse
from pathlib import Path

from mantlet.cli import weights_opened
from mantlet.edge import chunks, output, pack_files, pack_open, stream


def register(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `weights verify`."""
    parser = verbs.add_parser(
        "verify",
        help="hold every byte of a pack against its descriptor",
        description="Check signature, size, partition table and ciphertext digest; with the key, decrypt all "
        "of it and verify each block up to the root hash.",
    )
    weights_opened.add_options(parser, body=True)
    parser.add_argument(
        "--key", type=Path, metavar="FILE", help="the data key: names the damaged block, proves the root hash"
    )
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Read all of it."""
    pack = weights_opened.opened(arguments)
    descriptor, model = pack.descriptor, pack.descriptor.model
    key = None if arguments.key is None else pack_files.read_key(arguments.key)
    if model.stream is not None:
        with pack.source() as source:
            stream.check(source, descriptor, data_key=key)
    else:
        with chunks.workers(model.size) as executor:
            pack_open.check(pack.image, descriptor, data_key=key, executor=executor)
    proved = "ciphertext" if key is None else "ciphertext and plaintext"
    if arguments.json:
        output.document({"model": model.id, "root_hash": model.root_hash.hex(), "verified": proved})
    else:
        output.result(f"verified  {model.id} {model.version}: {proved}, all of {model.body_size:,} bytes")
    return 0
