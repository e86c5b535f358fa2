# SPDX-License-Identifier: Apache-2.0
"""YAML in which what is read is what is written: no key twice, no alias, nothing but plain data.

Owns the reading of the policies' outer form; what they mean is decoded by the pure rooms.
"""

from collections.abc import Hashable
from pathlib import Path

import yaml
from typing_extensions import override

from mantlet.edge import files
from mantlet_measure.errors import DecodeError

_LIMIT = 1 << 20


def read(path: Path, *, what: str) -> object:
    """Read one YAML document of at most 1 MiB. DecodeError on what is none, has a key twice, or an alias."""
    text = files.read(path, limit=_LIMIT, what=what)
    try:
        value: object = yaml.load(text, Loader=_StrictLoader)  # noqa: S506, it is a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problem = " ".join(str(error).split())
        raise DecodeError(
            f"{what} {path}", expected="strict YAML", found=problem, hint=f"mend {path}"
        ) from None
    return value


class _StrictLoader(yaml.SafeLoader):
    """A SafeLoader that refuses duplicate keys and aliases."""

    @override
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise yaml.YAMLError(f"the key {twice!r} twice")
        return super().construct_mapping(node, deep)

    @override
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias")
        return super().compose_node(parent, index)
