# SPDX-License-Identifier: Apache-2.0
"""Make a weights pack on disk: plan, ciphertext, descriptor; or go on with one that was interrupted.

No root, no loop device, no device mapper. `mantlet.weights` says where everything lies, `pack_plan` lays the
model out and hashes it, `pack_disk` encrypts, and this module puts them in order.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mantlet.edge import chunks, models, output, pack_disk, pack_files, pack_journal, pack_plan, stream
from mantlet.edge.erofs import Source
from mantlet.edge.pack_files import Pack
from mantlet.edge.pack_journal import Entry, Journal
from mantlet.edge.pack_plan import Label, Plan
from mantlet.edge.tools import ToolsTree
from mantlet.weights import pack as disk_body
from mantlet.weights import stream as stream_body
from mantlet.weights.descriptor import Descriptor
from mantlet_measure.body import Stream
from mantlet_measure.disk_key import disk_key, key_id
from mantlet_measure.errors import UnavailableError

# Room for the hash tree (1 %), written apart and into the image, the partition table and the descriptor.
_SLACK = 16 << 20


class Body(StrEnum):
    """What holds the model: a file system on a disk, or a stream of its files."""

    DISK = "disk"
    STREAM = "stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What a run works on: the model's files, the one that the runtime opens, where, and with what.

    stream: what is made of the files, None for a disk body.
    """

    sources: Sequence[Source]
    file: str
    place: Path
    stream: Stream | None
    executor: Executor
    tools: ToolsTree


def write(
    source: Path,
    directory: Path,
    *,
    label: Label,
    file: str | None,
    key_file: Path | None,
    owner: Ed25519PrivateKey,
    tools: ToolsTree,
    body: Body = Body.DISK,
) -> Pack:
    """Pack the GGUF or directory `source` as `<id>.raw`, `.json` and `.key` in `directory`.

    file: the name that the runtime opens, when `source` is a directory. key_file: holds 32 bytes, and is made
    when it is missing. owner: signs the descriptor. The image is replaced as a whole, the descriptor last.
    An interrupted run is gone on with.
    Raises DecodeError on bad input, UnavailableError when there is no room, ProcessError when a tool fails.
    """
    sources, first = models.inspect(source, file=file)
    key_file = key_file or directory / f"{label.id}.key"
    if key_file.exists():
        pack_files.read_key(key_file)
    total = sum(entry.size for entry in sources)
    sizes = {entry.name: entry.size for entry in sources}
    streamed = stream_body.stream_of(sizes) if body is Body.STREAM else None
    with (
        pack_files.workspace(directory, label.id) as place,
        _steady(),
        chunks.workers(total) as executor,
    ):
        work = _Work(
            sources=sources, file=first, place=place, stream=streamed, executor=executor, tools=tools
        )
        output.step(f"Packing {source.name} ({total:,} bytes)…")
        plan, entry = _plan(work, label, key_file, total)
        with pack_files.data_key(key_file) as key:
            entry = replace(entry, key_id=key_id(key))
            journal = Journal(path=place / "journal", entry=entry, needs=plan.rest)
            digest = _encrypt(work, plan, journal, key)
            pack_plan.check_unchanged(sources, entry.marks)
            pack = Pack(
                image=directory / f"{label.id}.raw",
                descriptor_file=directory / f"{label.id}.json",
                key_file=key_file,
                descriptor=Descriptor(model=plan.model, ciphertext_sha256=digest, key_id=entry.key_id),
            )
            pack_files.publish(pack, place / "disk", owner=owner)
    return pack


def _plan(work: _Work, label: Label, key_file: Path, total: int) -> tuple[Plan, Entry]:
    """Return the plan, and how far an earlier run has come with it."""
    marks = pack_plan.marks(work.sources)
    rest = work.place / "rest"
    known = key_id(pack_files.read_key(key_file)) if key_file.exists() else None
    entry = pack_journal.read(work.place / "journal", marks=marks, key_id=known)
    if entry is not None and (entry.model.id, entry.model.stream) == (label.id, work.stream):
        output.step(f"Going on where an earlier run stopped, at {entry.done:,} bytes…")
        model = replace(entry.model, version=label.version, epoch=label.epoch, file=work.file)
        return pack_plan.again(work.sources, rest, model=model), replace(entry, model=model)
    pack_files.clear(work.place)
    pack_files.check_room(work.place, total + total // 50 + _SLACK)
    plan = pack_plan.new(
        work.sources, rest, label=label, file=work.file, tools=work.tools, executor=work.executor
    )
    plan = replace(plan, model=replace(plan.model, stream=work.stream))
    return plan, Entry(marks=marks, model=plan.model, key_id=b"", done=0)


def _encrypt(work: _Work, plan: Plan, journal: Journal, key: bytes) -> bytes:
    """Encrypt what is not yet encrypted, with a journal of it; return the digest of the ciphertext."""
    model, disk = plan.model, work.place / "disk"
    if work.stream is None:
        output.step(f"Encrypting it with {disk_body.CIPHER}…")
        return pack_disk.encrypt(
            plan, disk, key=disk_key(key, model.root_hash), journal=journal, executor=work.executor
        )
    output.step(f"Encrypting it with {stream_body.CIPHER}…")
    places = {source.name: source.path for source in work.sources}
    return stream.write(disk, model, places, data_key=key, journal=journal)


@contextmanager
def _steady() -> Iterator[None]:
    """Say of a file that ended too early that somebody wrote to it."""
    try:
        yield
    except EOFError as short:
        raise UnavailableError(
            f"{short}: the file shrank meanwhile", hint="pack it again when nothing writes to it"
        ) from None
