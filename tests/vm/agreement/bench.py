# SPDX-License-Identifier: Apache-2.0
"""From a scenario to a machine: its disk, its variables, what is plugged in, and its boot.

One machine is on at a time. Disks and machines stay in `folder`; the TPMs are copies of one that was never
used.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mantlet.edge import boot_loaders, software_tpm
from mantlet.edge.accelerator import VARIABLES, Accelerator
from mantlet.edge.attack import damage
from mantlet.edge.boot_loaders import BootLoaders
from mantlet.edge.image import Build
from mantlet.edge.machine import Hardware, Machine
from mantlet.edge.software_tpm import Authority
from mantlet.edge.tools import ToolsTree
from tests.vm.agreement.assembly import REMOVABLE, Recipe, Workshop
from tests.vm.agreement.scenarios import Companion, Scenario, Suite
from tests.vm.agreement.watching import Observation, watch

_ENTRY = "EFI/Linux/agreement.efi"
_LOADER_CONF = b"timeout 0\neditor no\n"
# Sections that the stub packs into the initrd, so that register 9 depends on them.
_SIGNED_POLICY = {".pcrsig": b'{"sha256":[]}', ".pcrpkey": b"-----BEGIN PUBLIC KEY-----\n"}
_SMBIOS = "type=11,value=io.systemd.stub.kernel-cmdline-extra="


# No slots: `workshop` and `kernel` are kept once they are known.
@dataclass(frozen=True, kw_only=True)
class Bench:
    """Boots scenarios of one build."""

    built: Build
    tools: ToolsTree
    folder: Path
    accelerator: Accelerator

    def disk(self, scenario: Scenario) -> Path:
        """Make the disk of a scenario, once; our own image's is the build's unless something is added."""
        if scenario.stub is None and not scenario.companions:
            return self.built.path("disk.raw").resolve()
        disk = self.workshop.folder / f"{scenario.id}.raw"
        if disk.exists():
            return disk
        if scenario.stub is None:
            shutil.copyfile(self.built.path("disk.raw"), disk)
            offset = damage.partition(disk, lambda entry: entry["name"] == "esp", self.tools)
            self.workshop.add(disk, offset=offset, files=self._companions(scenario, REMOVABLE))
            return disk
        uki = self.uki(scenario.stub, signed=scenario.secure_boot, profiles=scenario.profiles)
        files: dict[str, Path | bytes] = {}
        if scenario.loader is None:
            files[REMOVABLE] = uki
        else:
            files[REMOVABLE] = self.loader(scenario.loader, signed=scenario.secure_boot)
            files |= {_ENTRY: uki, "loader/loader.conf": _LOADER_CONF}
        if scenario.mixin:
            files["loader/boot-secret-mixin"] = b"\0"
        path = REMOVABLE if scenario.loader is None else _ENTRY
        return self.workshop.disk(scenario.id, files | self._companions(scenario, path))

    def variables(self, scenario: Scenario) -> Path:
        """The firmware's variables before the first boot: our keys and Secure Boot, or setup mode."""
        if scenario.secure_boot:
            return self.built.path("OVMF_VARS.fd").resolve()
        return self.tools.root / VARIABLES.lstrip("/")

    def observe(self, scenario: Scenario) -> Observation:
        """Boot a scenario and watch it."""
        words = () if scenario.smbios_cmdline is None else ("-smbios", _SMBIOS + scenario.smbios_cmdline)
        hardware = Hardware(
            disk=self.disk(scenario),
            variables=self.variables(scenario),
            memory_mib=scenario.memory_mib,
            processors=scenario.processors,
            extra=words,
        )
        with self._machine(scenario, hardware) as machine:
            return watch(machine, whole=scenario.whole)

    @contextmanager
    def _machine(self, scenario: Scenario, hardware: Hardware) -> Iterator[Machine]:
        authority = Authority(folder=self.folder / "authority")
        unused = self.folder / "tpm"
        software_tpm.make(unused, authority=authority, tools=self.tools)
        # QEMU and swtpm take no comma in a path.
        folder = self.folder / "machines" / (scenario.machine or scenario.id)
        if not folder.exists():
            shutil.copytree(unused, folder / "tpm")
        with Machine(
            folder=folder,
            hardware=hardware,
            tools=self.tools,
            authority=authority,
            accelerator=self.accelerator,
        ) as machine:
            yield machine

    @cached_property
    def workshop(self) -> Workshop:
        """Where files are made."""
        folder = self.folder / "workshop"
        folder.mkdir(parents=True, exist_ok=True)
        return Workshop(tools=self.tools, folder=folder)

    @cached_property
    def kernel(self) -> Path:
        """The kernel of our image."""
        return self.workshop.kernel(self.built.path("uki.efi"))

    def loaders(self, suite: Suite) -> BootLoaders:
        """The boot loader and stubs of a suite."""
        return boot_loaders.of_tree(self.tools) if suite is Suite.FORKY else boot_loaders.of_suite(suite)

    def uki(self, suite: Suite, *, signed: bool, profiles: tuple[str, ...] = ()) -> Path:
        """Make a UKI of a suite's stub and our kernel, once. profiles: command lines beside the first."""
        name = f"uki-{suite.systemd}-{'signed' if signed else 'unsigned'}-{len(profiles)}"
        target = self.workshop.folder / f"{name}.efi"
        recipe = Recipe(
            stub=self.loaders(suite).stub,
            appended=suite is Suite.BOOKWORM,
            sections=_SIGNED_POLICY,
            profiles=profiles,
        )
        if not target.exists():
            target = self.workshop.uki(name, recipe, kernel=self.kernel, signed=signed)
        return target

    def loader(self, suite: Suite, *, signed: bool) -> Path:
        """systemd-boot of a suite, signed by us or as it comes."""
        program = self.loaders(suite).loader
        if not signed:
            return program
        return self.workshop.signed(program, name=f"systemd-boot-{suite.systemd}-signed.efi")

    def _companions(self, scenario: Scenario, uki: str) -> dict[str, Path | bytes]:
        stub = self.loaders(scenario.stub or Suite.FORKY).addon_stub
        signed = scenario.secure_boot

        def file(companion: Companion) -> tuple[str, Path | bytes]:
            match companion:
                case Companion.ADDON:
                    addon = self.workshop.addon("own", "agreement.own=1", stub=stub, signed=signed)
                    return f"{uki}.extra.d/{addon.name}", addon
                case Companion.GLOBAL_ADDON:
                    addon = self.workshop.addon("global", "agreement.global=1", stub=stub, signed=signed)
                    return f"loader/addons/{addon.name}", addon
                case Companion.CREDENTIAL:
                    return f"{uki}.extra.d/agreement.cred", b"a credential\n"
                case Companion.GLOBAL_CREDENTIAL:
                    return "loader/credentials/agreement.cred", b"a global credential\n"
                case Companion.SYSEXT:
                    return f"{uki}.extra.d/agreement.raw", b"not really a system extension\n"
                case Companion.CONFEXT:
                    return f"{uki}.extra.d/agreement.confext.raw", b"nor a configuration extension\n"

        return dict(file(companion) for companion in scenario.companions)
