# SPDX-License-Identifier: Apache-2.0
"""What a build is made of: packages, and files, by the place that they are in (`initrd`, `root`).

Owns the strict decoding of `packages.json` and `contents.json` of a build folder, and how two such lists
differ. Nothing in them is measured as such: they say what may be behind a register that moved.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mantlet.explain.align import Change
from mantlet_measure import strictjson
from mantlet_measure.errors import DecodeError, shown
from mantlet_measure.strictjson import Fields

PACKAGES = "packages.json"
CONTENTS = "contents.json"
LIMIT = 16 << 20
UNITS = "usr/lib/systemd/system/"
# What a build enables, masks or overrides, as the administrator of other systems would.
_OWN_UNITS = "etc/systemd/system/"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SHOWN = 12
_PLACE = r"[a-z][a-z0-9-]{0,30}"
_NAME = r"[!-~]{1,256}"
_PACKAGES = 4096
_FILES = 1 << 17
_PATH = 4096

Inventory = Mapping[str, Mapping[str, str]]
"""For each place, what is there by name: a package's version, or a file's digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing that came, went or changed; `old` and `new` are versions or digests, or empty."""

    place: str
    name: str
    change: Change
    old: str = ""
    new: str = ""

    @property
    def words(self) -> str:
        """The change in words."""
        match self.change:
            case Change.EXTRA:
                return f"{self.name} {_said(self.new)} is new in {self.place}"
            case Change.MISSING:
                return f"{self.name} {_said(self.old)} is gone from {self.place}"
            case _:
                return f"{self.name} in {self.place}: {_said(self.old)} became {_said(self.new)}"


def _said(value: str) -> str:
    """A version, a link, or of a digest as much as tells two apart."""
    return f"{value[:_SHOWN]}…" if _DIGEST.fullmatch(value) else value


def decode_packages(data: bytes) -> Inventory:
    """Decode `packages.json`: for each place an array of name, version and architecture."""
    value = strictjson.decode(data, what=PACKAGES, limit=LIMIT)
    fields = Fields(value, PACKAGES)
    places = _places(value, PACKAGES)
    found: dict[str, dict[str, str]] = {}
    for place in places:
        versions: dict[str, str] = {}
        for index, item in enumerate(fields.sequence(place, limit=_PACKAGES)):
            package = Fields(item, f"{PACKAGES}: {place}: package {index}")
            name = package.text("name", pattern=_NAME)
            architecture = package.text("architecture", pattern=_NAME)
            # Two architectures of one package may be there at once.
            key = name if name not in versions else f"{name}:{architecture}"
            versions[key] = package.text("version", pattern=_NAME)
            package.done()
        found[place] = versions
    fields.done()
    return found


def decode_contents(data: bytes) -> Inventory:
    """Decode `contents.json`: for each place an object of path → SHA-256, or `-> target` of a link."""
    value = strictjson.decode(data, what=CONTENTS, limit=LIMIT)
    fields = Fields(value, CONTENTS)
    found: dict[str, Mapping[str, str]] = {}
    for place in _places(value, CONTENTS):
        paths = fields.mapping(place)
        if len(paths) > _FILES:
            raise DecodeError(
                f"{CONTENTS}: {place}", expected=f"at most {_FILES} files", found=str(len(paths))
            )
        own = Fields(dict(paths), f"{CONTENTS}: {place}")
        found[place] = {path: own.text(path, pattern=r"[0-9a-f]{64}|-> .*", limit=_PATH) for path in paths}
    fields.done()
    return found


def _places(value: object, what: str) -> tuple[str, ...]:
    names = tuple(value) if isinstance(value, dict) else ()
    for name in names:
        Fields({"name": name}, what).text("name", pattern=_PLACE)
    if not names:
        raise DecodeError(what, expected="an object of places, at least one", found=shown(value))
    return names


def units(contents: Inventory) -> Inventory:
    """Return the systemd units among the files; those below /etc keep their whole path."""
    return {
        place: {
            path.removeprefix(UNITS): said
            for path, said in files.items()
            if path.startswith((UNITS, _OWN_UNITS))
        }
        for place, files in contents.items()
    }


def difference(old: Inventory, new: Inventory) -> tuple[Item, ...]:
    """Return what came, went and changed, by place and name."""
    items: list[Item] = []
    for place in sorted({*old, *new}):
        before, after = old.get(place, {}), new.get(place, {})
        for name in sorted({*before, *after}):
            was, now = before.get(name, ""), after.get(name, "")
            if was != now:
                change = Change.EXTRA if not was else Change.MISSING if not now else Change.ALTERED
                items.append(Item(place=place, name=name, change=change, old=was, new=now))
    return tuple(items)
