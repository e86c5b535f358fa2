# SPDX-License-Identifier: Apache-2.0
"""systemd's boot loader and stubs as other suites carry them: what other people's images start with.

Unpacked once from each suite's package `systemd-boot-efi`, which apt checks as it checks every package; never
installed, and never part of our image. The tests boot UKIs made of them. Remove the folder to fetch anew.
"""

from dataclasses import dataclass
from pathlib import Path

from mantlet.edge import mirror, output, project, tools
from mantlet.edge.tools import ToolsTree

_PACKAGE = "systemd-boot-efi"
_INSIDE = Path("usr/lib/systemd/boot/efi")


@dataclass(frozen=True, slots=True, kw_only=True)
class BootLoaders:
    """One suite's EFI programs for x86-64."""

    folder: Path

    @property
    def loader(self) -> Path:
        """systemd-boot."""
        return self.folder / "systemd-bootx64.efi"

    @property
    def stub(self) -> Path:
        """The stub of a UKI."""
        return self.folder / "linuxx64.efi.stub"

    @property
    def addon_stub(self) -> Path:
        """The stub of an add-on; suites before systemd 254 have none."""
        return self.folder / "addonx64.efi.stub"


def of_tree(tree: ToolsTree) -> BootLoaders:
    """Return those of the tools tree's own suite."""
    return BootLoaders(folder=tree.root / _INSIDE)


def of_suite(suite: str) -> BootLoaders:
    """Return those of another suite, fetched when they are missing.

    UnavailableError when no mirror has the suite, ProcessError when the package cannot be had.
    """
    target = project.tools_folder() / tools.KEPT / suite
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        output.step(f"Fetching {_PACKAGE} of {suite}…")
        tools.debootstrap(target, [_PACKAGE], mirror.find(suite), variant="extract")
    return BootLoaders(folder=target / _INSIDE)
