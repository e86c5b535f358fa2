# SPDX-License-Identifier: Apache-2.0
"""How far a pack has come, so that a run that was interrupted goes on where it stopped.

The ciphertext is a function of plaintext and key, so that a part may be written twice. An entry is written
only after what it vouches for is on the disk. It is a matter between two runs of one user: what it says is
checked for fit, not for truth.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from mantlet.edge import files
from mantlet.weights import descriptor as descriptors
from mantlet.weights.descriptor import KEY_ID_SIZE, Descriptor
from mantlet_measure import strictjson
from mantlet_measure.deployment import Model, model_from_fields, model_to_value
from mantlet_measure.errors import DecodeError
from mantlet_measure.strictjson import Fields

_WHAT = "journal of a pack"
_LIMIT = 1 << 20
# What is written between two entries, at least: each waits for the disk.
_ENTRY_EACH = 128 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What is done: the plan of `model` over an input with these marks, and `done` bytes under this key."""

    marks: bytes
    model: Model
    key_id: bytes
    done: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """Where entries are written, and the one that a run begins with.

    needs: a file that an entry vouches for, beside the one that the run writes.
    """

    path: Path
    entry: Entry
    needs: Path | None = None

    @property
    def done(self) -> int:
        """Bytes of the body that an earlier run has written."""
        return self.entry.done

    @contextmanager
    def kept(self, file: int) -> Iterator[Callable[[int], None]]:
        """Yield what is told how far the body in the open `file` has come.

        It is entered by another thread, each time that so much more is there to be worth it, and once more
        when the work is broken off.
        """
        with ThreadPoolExecutor(max_workers=1) as beside:
            entry: Future[None] = beside.submit(self._begin)
            entered = latest = self.done

            def reached(place: int) -> None:
                nonlocal entry, entered, latest
                latest = place
                if place - entered >= _ENTRY_EACH and entry.done():
                    entry.result()
                    entered = place
                    entry = beside.submit(self._enter, file, place)

            try:
                yield reached
            except BaseException:
                entry.result()
                self._enter(file, latest)
                raise
            entry.result()

    def _begin(self) -> None:
        if self.needs is not None:
            files.sync(self.needs)
        write(self.path, self.entry)

    def _enter(self, file: int, place: int) -> None:
        os.fdatasync(file)
        write(self.path, replace(self.entry, done=place))


def read(path: Path, *, marks: bytes, key_id: bytes | None) -> Entry | None:
    """Return the entry of an earlier run over the same input with the same key, or None."""
    try:
        fields = Fields(strictjson.decode(files.read(path, limit=_LIMIT, what=_WHAT), what=_WHAT), _WHAT)
        model = fields.fields("model")
        entry = Entry(
            marks=fields.hex("marks", 32),
            model=model_from_fields(model),
            key_id=fields.hex("key_id", KEY_ID_SIZE),
            done=fields.integer("done", 0, 1 << 46),
        )
    except (FileNotFoundError, DecodeError):
        # A damaged journal is none: the pack starts anew.
        return None
    return entry if (entry.marks, entry.key_id) == (marks, key_id) else None


def marks_of(descriptor: Descriptor) -> bytes:
    """Return 32 bytes that name a pack as an input: each of its blocks is verified before it is used."""
    return hashlib.sha256(b"pack:" + descriptors.encode(descriptor)).digest()


def write(path: Path, entry: Entry) -> None:
    """Write the entry in the place of the last one, all at once."""
    value = {
        "marks": entry.marks.hex(),
        "model": model_to_value(entry.model),
        "key_id": entry.key_id.hex(),
        "done": entry.done,
    }
    files.write_atomic(path, strictjson.encode(value), mode=0o600)
