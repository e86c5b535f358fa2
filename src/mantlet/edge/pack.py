# SPDX-License-Identifier: Apache-2.0
"""Make a weights pack on disk: file system, hash tree, ciphertext, partition table, descriptor.

`mantlet.weights.pack` says where everything lies; `mkfs.erofs` and `sfdisk` come from the tools tree. No
root, no loop device, no device mapper. Nothing stands under its final name until all of it is there.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mantlet.edge import erofs, files, models, output, pack_disk
from mantlet.edge.erofs import Source
from mantlet.edge.pack_disk import Piece
from mantlet.edge.tools import ToolsTree
from mantlet.weights import pack as layout
from mantlet.weights.pack import PARTITION_OFFSET, Descriptor
from mantlet_measure.deployment import Model
from mantlet_measure.disk_key import DATA_KEY_SIZE, disk_key
from mantlet_measure.errors import DecodeError, UnavailableError

# Room for the hash tree (1 %), the partition table and the descriptor.
_SLACK = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """The three files of a pack, and what the descriptor says."""

    image: Path
    descriptor_file: Path
    key_file: Path
    descriptor: Descriptor


def write(
    source: Path,
    directory: Path,
    *,
    model_id: str,
    file: str | None,
    key_file: Path | None,
    tools: ToolsTree,
) -> Pack:
    """Pack the GGUF or directory `source` as `<model_id>.raw`, `.json` and `.key` in `directory`.

    file: the name that the runtime opens, when `source` is a directory. key_file: holds 32 bytes, and is made
    when it is missing. The image is replaced as a whole, the descriptor last.
    Raises DecodeError on bad input, UnavailableError when there is no room, ProcessError when a tool fails.
    """
    sources, first = models.inspect(source, file=file)
    key_file = key_file or directory / f"{model_id}.key"
    data_key = _read_key(key_file)
    directory.mkdir(parents=True, exist_ok=True)
    total = sum(entry.size for entry in sources)
    with _workspace(directory, model_id) as workspace, pack_disk.workers(total) as executor:
        _check_room(workspace, total + total // 100 + _SLACK)
        unchanged = _marks(sources)
        disk = workspace / "disk"
        output.step(f"Packing {source.name} ({total:,} bytes) into erofs…")
        size, places = erofs.write(
            sources, disk, offset=PARTITION_OFFSET, uuid=layout.filesystem_uuid(model_id), tools=tools
        )
        pieces = [Piece(path=file.path, start=extent.start, size=extent.size) for file, extent in places]
        output.step("Hashing it into a dm-verity tree…")
        parts, salt = layout.layout(size), layout.salt(model_id)
        model = Model(
            id=model_id,
            file=first,
            root_hash=pack_disk.hash_tree(disk, parts, pieces, salt=salt, executor=executor),
            salt=salt,
            data_blocks=parts.data_blocks,
            hash_offset=parts.hash_offset,
            size=parts.size,
        )
        fresh_key = data_key is None
        data_key = data_key or os.urandom(DATA_KEY_SIZE)
        output.step(f"Encrypting it with {layout.CIPHER}…")
        key = disk_key(data_key, model.root_hash)
        digest = pack_disk.encrypt(disk, model, pieces, key=key, tools=tools, executor=executor)
        _check_unchanged(sources, unchanged)
        pack = Pack(
            image=directory / f"{model_id}.raw",
            descriptor_file=directory / f"{model_id}.json",
            key_file=key_file,
            descriptor=Descriptor(model=model, ciphertext_sha256=digest),
        )
        _publish(pack, disk, new_key=data_key if fresh_key else None)
    return pack


def _read_key(path: Path) -> bytes | None:
    """Read the data key, or return None when it is still to be made."""
    if not path.exists():
        return None
    key = files.read(path, limit=1 << 10, what="data key")
    if len(key) != DATA_KEY_SIZE:
        raise DecodeError(
            f"data key {path}",
            expected=f"{DATA_KEY_SIZE} bytes",
            found=f"{len(key)}",
            hint="give the key file of an earlier pack, or a path where none exists yet",
        )
    return key


@contextmanager
def _workspace(directory: Path, model_id: str) -> Iterator[Path]:
    """Lend an empty directory beside the final names, and remove it; leftovers of earlier runs go first."""
    workspace = directory / f".{model_id}.partial"
    workspace.mkdir(exist_ok=True)
    lock = os.open(workspace, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UnavailableError(
                f"{workspace}: another run packs this model into the same directory",
                hint="wait for it, or choose another --output",
            ) from None
        try:
            for leftover in workspace.iterdir():
                leftover.unlink()
            yield workspace
        finally:
            shutil.rmtree(workspace)
    finally:
        os.close(lock)


def _check_room(directory: Path, needed: int) -> None:
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise UnavailableError(
            f"{directory.parent}: expected {needed:,} bytes of room for the pack, found {free:,}",
            hint="make room there, or choose another file system with --output DIR",
        )


def _marks(sources: Sequence[Source]) -> list[tuple[int, ...]]:
    """Return what changes with the files."""
    found = [source.path.stat() for source in sources]
    return [(mark.st_dev, mark.st_ino, mark.st_size, mark.st_mtime_ns, mark.st_ctime_ns) for mark in found]


def _check_unchanged(sources: Sequence[Source], marks: Sequence[tuple[int, ...]]) -> None:
    """Refuse files that changed since they had these marks: they were read twice, to hash and to encrypt."""
    for source, before, now in zip(sources, marks, _marks(sources), strict=True):
        if now != before:
            raise UnavailableError(
                f"{source.path}: expected the file that was hashed, found that it changed meanwhile",
                hint="pack it again when nothing writes to it",
            )


def _publish(pack: Pack, disk: Path, *, new_key: bytes | None) -> None:
    """Give the files their names. The descriptor comes last: where it stands, all stands."""
    if new_key is not None:
        pack.key_file.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomic(pack.key_file, new_key, mode=0o600)
    pack.descriptor_file.unlink(missing_ok=True)
    disk.replace(pack.image)
    files.write_atomic(pack.descriptor_file, layout.encode(pack.descriptor) + b"\n")
