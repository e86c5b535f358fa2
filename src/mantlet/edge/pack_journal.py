# SPDX-License-Identifier: Apache-2.0
"""How far a pack has come, so that a run that was interrupted goes on where it stopped.

The ciphertext is a function of files and key, so that a part may be written twice. An entry is written only
after what it vouches for is on the disk. It is a matter between two runs of one user: what it says is checked
for fit, not for truth.
"""

from dataclasses import dataclass
from pathlib import Path

from mantlet.edge import files
from mantlet.weights.descriptor import KEY_ID_SIZE
from mantlet_measure import strictjson
from mantlet_measure.deployment import Model, model_from_fields, model_to_value
from mantlet_measure.errors import DecodeError
from mantlet_measure.strictjson import Fields

_WHAT = "journal of a pack"
_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What is done: the plan of `model` over files with these marks, and `done` bytes under this key."""

    marks: bytes
    model: Model
    key_id: bytes
    done: int


def read(path: Path, *, marks: bytes, key_id: bytes | None) -> Entry | None:
    """Return the entry of an earlier run over the same files with the same key, or None."""
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


def write(path: Path, entry: Entry) -> None:
    """Write the entry in the place of the last one, all at once."""
    value = {
        "marks": entry.marks.hex(),
        "model": model_to_value(entry.model),
        "key_id": entry.key_id.hex(),
        "done": entry.done,
    }
    files.write_atomic(path, strictjson.encode(value), mode=0o600)
