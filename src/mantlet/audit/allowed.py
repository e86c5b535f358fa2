# SPDX-License-Identifier: Apache-2.0
"""What one image may hold, part by part (policies/allowed, policies/schema/allowed.json), decoded.

Owns the form of the lists and the names of the parts. What an image holds of each part, and what follows from
a difference, is for `mantlet.audit.checks.allow_list`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from mantlet.audit.tree import INITRD, ROOT
from mantlet_measure.errors import DecodeError
from mantlet_measure.strictjson import Fields

FORMAT = "mantlet-allowed/v1"
WHAT = "allowed contents"
_NAMES = 4096
_NAME = r"[^\n]{1,400}"


class Part(StrEnum):
    """A part of an image that is listed, by its name in the file."""

    ELF = "elf"
    INTERPRETERS = "interpreters"
    SCRIPTS = "scripts"
    UNITS = "units"
    GENERATORS = "generators"
    SOCKETS = "sockets"
    MODULES = "modules"
    USERS = "users"
    GROUPS = "groups"
    CAPABILITIES = "capabilities"
    SYSCTLS = "sysctls"
    DEVICES = "device-programs"
    ESP = "esp"
    UKI_SECTIONS = "uki-sections"

    @property
    def of_trees(self) -> bool:
        """Whether it is listed for root and initrd apart."""
        return self not in (Part.ESP, Part.UKI_SECTIONS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """The lists of the image with this id: names or shell patterns, by part and tree.

    The tree of what belongs to none is empty.
    """

    image: str = ""
    lists: Mapping[tuple[Part, str], tuple[str, ...]] = field(default_factory=dict)


def decode(value: object) -> Allowed:
    """Decode the lists from the value that their YAML holds. DecodeError on anything else."""
    fields = Fields(value, WHAT)
    fields.constant("format", FORMAT)
    image = fields.text("image", pattern=_NAME)
    lists: dict[tuple[Part, str], tuple[str, ...]] = {}
    for part in Part:
        if part.of_trees:
            trees = fields.fields(part.value)
            for tree in (ROOT, INITRD):
                lists[part, tree] = _names(trees, tree)
            trees.done()
        else:
            lists[part, ""] = _names(fields, part.value)
    fields.done()
    return Allowed(image=image, lists=lists)


def _names(fields: Fields, name: str) -> tuple[str, ...]:
    listed = fields.sequence(name, limit=_NAMES)
    texts = Fields({str(number): item for number, item in enumerate(listed)}, f"{fields.what}: {name}")
    names = tuple(texts.text(str(number), pattern=_NAME) for number in range(len(listed)))
    if len(set(names)) != len(names):
        raise DecodeError(f"{fields.what}: {name}", expected="each name once", found="one twice")
    return names
