# SPDX-License-Identifier: Apache-2.0
"""`mantlet weights rekey`: the same model under another data key. Its root hash stays what it was.

An interrupted run is gone on with: what it has written is a function of the pack and the new key.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from mantlet.cli import weights_opened
from mantlet.cli.weights_opened import Opened
from mantlet.edge import chunks, output, owner, pack_disk, pack_files, pack_journal, pack_open, stream
from mantlet.edge.pack_files import Pack
from mantlet.edge.pack_journal import Entry, Journal
from mantlet.weights.descriptor import Descriptor
from mantlet_measure.disk_key import key_id
from mantlet_measure.errors import MantletError


def register(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `weights rekey`."""
    parser = verbs.add_parser(
        "rekey",
        help="encrypt a pack anew under another data key",
        description="Decrypt, verify and encrypt a pack in one pass, into another directory. Sealed copies "
        "of the old key open the old pack only.",
    )
    weights_opened.add_options(parser, body=True)
    parser.add_argument("--key", type=Path, required=True, metavar="FILE", help="the data key of the pack")
    parser.add_argument(
        "--new-key", type=Path, metavar="FILE", help="the other data key, made if missing (default: ID.key)"
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="where the new pack goes: not where it is"
    )
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the new pack, its descriptor last."""
    signer = owner.signing_key(arguments.owner_key)
    opened, old = weights_opened.opened(arguments), pack_files.read_key(arguments.key)
    model_id, directory = opened.descriptor.model.id, arguments.output
    if directory.resolve() == arguments.pack.parent.resolve():
        raise MantletError(
            f"--output: expected another directory than that of the pack, found {directory}",
            hint="write the new pack elsewhere, and remove the old one when no machine needs it any more",
        )
    key_file = arguments.new_key or directory / f"{model_id}.key"
    with pack_files.workspace(directory, model_id) as place, pack_files.data_key(key_file) as new:
        if new == old:
            raise MantletError(
                f"{key_file}: expected another data key than that of the pack, found the same",
                hint="name a file that does not exist yet with --new-key",
            )
        digest = _encrypt_anew(opened, place, old, new)
        made = Pack(
            image=directory / f"{model_id}.raw",
            descriptor_file=directory / f"{model_id}.json",
            key_file=key_file,
            descriptor=replace(opened.descriptor, ciphertext_sha256=digest, key_id=key_id(new)),
        )
        pack_files.publish(made, place / "disk", owner=signer)
    return _report(made, as_json=arguments.json)


def _encrypt_anew(opened: Opened, place: Path, old: bytes, new: bytes) -> bytes:
    descriptor, disk = opened.descriptor, place / "disk"
    journal = _journal(place, descriptor, new)
    output.step(f"Encrypting {descriptor.model.id} under another key…")
    if descriptor.model.stream is not None:
        with opened.source() as source:
            return stream.rekey(source, descriptor, disk, old=old, new=new, journal=journal)
    with chunks.workers(descriptor.model.size) as executor:
        return pack_open.rekey(
            opened.image, descriptor, disk, old=old, new=new, journal=journal, executor=executor
        )


def _journal(place: Path, descriptor: Descriptor, new: bytes) -> Journal:
    """Return the journal of an earlier run over the same pack under the same new key, or a fresh one."""
    path, marks, name = place / "journal", pack_journal.marks_of(descriptor), key_id(new)
    entry = pack_journal.read(path, marks=marks, key_id=name)
    if entry is not None:
        output.step(f"Going on where an earlier run stopped, at {entry.done:,} bytes…")
    else:
        pack_files.clear(place)
        pack_files.check_room(place, pack_disk.image_size(descriptor.model))
        entry = Entry(marks=marks, model=descriptor.model, key_id=name, done=0)
    return Journal(path=path, entry=entry)


def _report(made: Pack, *, as_json: bool) -> int:
    facts = {
        "image": str(made.image),
        "descriptor": str(made.descriptor_file),
        "key": str(made.key_file),
        "root_hash": made.descriptor.model.root_hash.hex(),
        "key_id": made.descriptor.key_id.hex(),
    }
    if as_json:
        output.document(facts)
    else:
        for name, value in facts.items():
            output.result(f"{name.replace('_', ' '):10}  {value}")
    return 0
