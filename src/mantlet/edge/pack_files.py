# SPDX-License-Identifier: Apache-2.0
"""The files of a pack: their names, the data key's file, and the place where a pack is made.

Nothing stands under its final name until all of it is there, but for a new data key: ciphertext of an
interrupted run would be worth nothing without it.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mantlet.edge import files
from mantlet.edge.owner import write_descriptor
from mantlet.edge.range_source import LostSourceError
from mantlet.weights.descriptor import Descriptor
from mantlet_measure.disk_key import DATA_KEY_SIZE
from mantlet_measure.errors import DecodeError, UnavailableError

# After these the same command goes on where it stopped.
_INTERRUPTIONS = (KeyboardInterrupt, LostSourceError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """The three files of a pack, and what the descriptor says."""

    image: Path
    descriptor_file: Path
    key_file: Path
    descriptor: Descriptor


def publish(pack: Pack, disk: Path, *, owner: Ed25519PrivateKey) -> None:
    """Give the files their names. The descriptor comes last: where it stands, all stands."""
    pack.descriptor_file.unlink(missing_ok=True)
    disk.replace(pack.image)
    write_descriptor(pack.descriptor_file, pack.descriptor, key=owner)


def read_key(path: Path) -> bytes:
    """Read a data key. DecodeError when it is not one."""
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
def data_key(path: Path) -> Iterator[bytes]:
    """Lend the data key of this file, made when it is missing.

    A key that was made here goes again when the work fails. It stays when the work is interrupted, or when
    what it reads went away.
    """
    if path.exists():
        yield read_key(path)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    key = os.urandom(DATA_KEY_SIZE)
    files.write_atomic(path, key, mode=0o600)
    try:
        yield key
    except _INTERRUPTIONS:
        raise
    except BaseException:
        path.unlink(missing_ok=True)
        raise


@contextmanager
def workspace(directory: Path, model_id: str, *, ending: str = "partial") -> Iterator[Path]:
    """Lend a directory beside the final names, with what an interrupted run left in it.

    ending: of its name, one for each kind of work. It is removed at the end, and kept as a new data key is.
    UnavailableError when it is lent already.
    """
    directory.mkdir(parents=True, exist_ok=True)
    place = directory / f".{model_id}.{ending}"
    place.mkdir(exist_ok=True, mode=0o700)
    lock = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UnavailableError(
                f"{place}: another run writes this model into the same directory",
                hint="wait for it, or choose another --output",
            ) from None
        try:
            yield place
        except _INTERRUPTIONS:
            raise
        except BaseException:
            shutil.rmtree(place)
            raise
        shutil.rmtree(place)
    finally:
        os.close(lock)


def clear(place: Path) -> None:
    """Remove what an earlier run left in a workspace."""
    for leftover in place.iterdir():
        leftover.unlink()


def check_room(directory: Path, needed: int) -> None:
    """Refuse to begin where less than `needed` bytes are free."""
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise UnavailableError(
            f"{directory.parent}: expected {needed:,} bytes of room for the pack, found {free:,}",
            hint="make room there, or choose another file system with --output DIR",
        )
