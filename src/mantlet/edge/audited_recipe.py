# SPDX-License-Identifier: Apache-2.0
"""The files of an mkosi recipe, read to be audited: the names of all, the text of settings.

Owns the limits. Templates are read as they are, under the name of what they become.
"""

from pathlib import Path

from mantlet.edge import files
from mantlet_measure.errors import UnavailableError

_FILES, _SETTINGS_LIMIT = 4096, 1 << 20
_TEMPLATE = ".j2"


def read(folder: Path) -> dict[str, str]:
    """Return the path of each file below a recipe, with its text if it is of settings.

    UnavailableError when there is no recipe, or more of it than anybody writes.
    """
    found: dict[str, str] = {}
    for path in sorted(item for item in folder.rglob("*") if item.is_file() and not item.is_symlink()):
        name = path.relative_to(folder).as_posix().removesuffix(_TEMPLATE)
        if len(found) == _FILES:
            raise UnavailableError(
                f"{folder}: expected at most {_FILES} files of a recipe, found more",
                hint="give the folder that holds mkosi.conf",
            )
        text = b""
        if name.endswith(".conf"):
            text = files.read(path, limit=_SETTINGS_LIMIT, what="settings of mkosi")
        found[name] = text.decode("utf-8", "replace")
    if "mkosi.conf" not in found:
        raise UnavailableError(
            f"{folder}: expected the recipe of an image, found no mkosi.conf",
            hint="give the folder that holds mkosi.conf",
        )
    return found
