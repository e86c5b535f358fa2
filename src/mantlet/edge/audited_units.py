# SPDX-License-Identifier: Apache-2.0
"""The exposure of an unpacked tree's services, as systemd-analyze of the tools tree counts it.

Owns how the program is asked; what a number means is for `mantlet.audit.checks.sandbox`. The units are read,
not started.
"""

import re
from pathlib import Path

from mantlet.audit import units
from mantlet.audit.tree import Tree
from mantlet.edge import process
from mantlet.edge.tools import ToolsTree

# `sh -c` gives the tree as $0 and the units as the other words; a unit that it cannot load ends nothing.
_ASK = 'for unit; do systemd-analyze security --offline=true --no-pager --root="$0" "$unit" || :; done'
_TOLD = re.compile(r"Overall exposure level for (\S+): ([0-9]+\.[0-9]+) ")
_INSTANCE = "instance"


def exposures(tree: Tree, folder: Path, *, tools: ToolsTree) -> dict[str, float | None]:
    """Return the exposure of each service of a tree that is unpacked in `folder`, by its name.

    A template is asked for as one of its instances. None: systemd-analyze could not tell.
    """
    services = {
        name.replace("@.", f"@{_INSTANCE}."): name
        for name in units.of(tree).present()
        if name.endswith(".service") and not name.startswith("-")
    }
    if not services:
        return {}
    argv = tools.command(["sh", "-c", _ASK, str(folder), *services], ro=[folder])
    told = process.run(argv, check=False, env={"SYSTEMD_COLORS": "0"}).stdout.decode("utf-8", "replace")
    found = {name: float(exposure) for name, exposure in _TOLD.findall(told)}
    return {name: found.get(asked) for asked, name in services.items()}
