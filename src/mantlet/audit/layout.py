# SPDX-License-Identifier: Apache-2.0
"""Systems that do not lie where the hierarchy of file-hierarchy(7) has them, put there for the checks.

Owns NixOS: all of a system lies in /nix/store, `init=` on the command line names the one that is booted, and
its /etc is made of a folder of it when the machine starts (NixOS, nixos/modules/system/activation). What its
activation script makes besides, accounts among it, is not in the image and cannot be looked at.
"""

import re
from collections.abc import Iterable

from mantlet.audit.image import Kernel
from mantlet.audit.tree import Node, Tree

_SYSTEM = re.compile(r"(?P<system>/nix/store/[^/]+)/init")
# Of a system, what stands where once it runs.
_PLACES = (("etc", "/etc"), ("systemd/lib/systemd", "/usr/lib/systemd"), ("sw/bin", "/usr/bin"))


def placed(tree: Tree, kernels: Iterable[Kernel]) -> Tree:
    """Return the tree with the system that the command line names where its files will stand; others as is.

    What the image has there already stays.
    """
    names = (_SYSTEM.fullmatch(value or "") for kernel in kernels for value in kernel.values("init"))
    system = next((match["system"] for match in names if match is not None), None)
    if system is None:
        return tree
    added: dict[str, Node] = {}
    for source, target in _PLACES:
        folder = tree.resolve(f"{system}/{source}")
        if folder is None or tree.below(target):
            continue
        for path, node in tree.nodes.items():
            if path == folder or path.startswith(f"{folder}/"):
                added[f"{target}{path[len(folder) :]}"] = node
    return Tree(name=tree.name, nodes={**tree.nodes, **added}, has_attributes=tree.has_attributes)
