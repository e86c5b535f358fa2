# SPDX-License-Identifier: Apache-2.0
"""A provisioned machine of one build, which every attack takes a copy of.

Owns its making: the tiny model packed and deployed, one boot in which the owner seals the key to it, and then
it is off. It lies in a folder that the next run finds again; a folder without its last file is made anew.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from mantlet.edge import files, output, pack
from mantlet.edge.accelerator import Accelerator
from mantlet.edge.attack.tiny_gguf import tiny_gguf
from mantlet.edge.bench.provisioning import AWAITING_KEY, BOOT_SECONDS, SERVING, Provisioning
from mantlet.edge.image import Build
from mantlet.edge.keys import KeyFolder
from mantlet.edge.machine import Hardware, Machine
from mantlet.edge.pack_files import Pack
from mantlet.edge.pack_plan import Label
from mantlet.edge.software_tpm import Authority
from mantlet.edge.tools import ToolsTree

MODEL = "tiny"
_LABEL = Label(id=MODEL, version="1", epoch=1)
_READY = "provisioned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """One build, its keys and tools, and where its provisioned machine lies."""

    built: Build
    keys: KeyFolder
    tools: ToolsTree
    accelerator: Accelerator
    folder: Path

    @property
    def machine_folder(self) -> Path:
        """TPM and firmware variables of the machine."""
        return self.folder / "machine"

    @property
    def deployment(self) -> Path:
        """Its deployment volume, with the sealed key."""
        return self.folder / "deployment.raw"

    @property
    def authority(self) -> Authority:
        """The maker of every TPM here."""
        return Authority(folder=self.keys.folder / "swtpm-ca")

    @property
    def provisioning(self) -> Provisioning:
        """What a machine gets from its owner."""
        return Provisioning(build=self.built.directory, pack=self.pack(), keys=self.keys)

    def pack(self) -> Pack:
        """The pack of the tiny model, made when it is missing."""
        model = self.folder / "tiny.gguf"
        if not model.exists():
            files.write_atomic(model, tiny_gguf())
        return self.packed(model, self.folder / "pack")

    def packed(self, model: Path, folder: Path, *, key_file: Path | None = None) -> Pack:
        """Pack a model under the tiny model's name; the same again where it is packed already."""
        owner = self.keys.owner()
        return pack.write(
            model, folder, label=_LABEL, file=None, key_file=key_file, owner=owner, tools=self.tools
        )

    def hardware(self, *, deployment: Path | None = None) -> Hardware:
        """The machine as it is sold: the build's disk, a deployment volume, the pack."""
        return Hardware(
            disk=self.built.path("disk.raw").resolve(),
            variables=self.built.path("OVMF_VARS.fd").resolve(),
            deployment=deployment or self.deployment,
            weights=self.folder / "pack" / f"{MODEL}.raw",
        )

    def machine(self, folder: Path, hardware: Hardware) -> Machine:
        """A machine whose state is in `folder`, off."""
        return Machine(
            folder=folder,
            hardware=hardware,
            tools=self.tools,
            authority=self.authority,
            accelerator=self.accelerator,
        )

    @property
    def trace(self) -> Path:
        """What the TPM was told in the boot in which the machine got its key."""
        return self.folder / "boot.trace"

    @property
    def plain_seconds(self) -> float:
        """How long a boot to serving takes when nobody attacks it; there once it was timed."""
        return float((self.folder / _READY).read_text("ascii"))

    def provision(self, *, timed: bool) -> None:
        """Boot for the first time, seal, power off; timed: boot once more as it is. Only once."""
        if (self.folder / _READY).exists():
            return
        files.new_directory(self.folder)
        output.step(f"Provisioning a machine of {self.built.directory.name}…")
        provisioning = self.provisioning
        provisioning.write_deployment(self.deployment, tools=self.tools)
        machine = self.machine(self.machine_folder, self.hardware())
        with machine:
            # Of a weakened build's evidence nothing is asked once it serves: there its agent does not cap.
            machine.wait_for(AWAITING_KEY, seconds=BOOT_SECONDS)
            provisioning.seal(machine)
            machine.wait_for(SERVING, seconds=BOOT_SECONDS)
        shutil.copyfile(machine.trace, self.trace)
        seconds = self._timed(machine) if timed else 0.0
        files.write_atomic(self.folder / _READY, f"{seconds:.1f}".encode("ascii"))

    def _timed(self, machine: Machine) -> float:
        with machine:
            machine.wait_for(SERVING, seconds=BOOT_SECONDS)
            seconds = machine.elapsed
        output.step(f"A plain boot of {self.built.directory.name} took {seconds:.0f} s")
        return seconds

    def copy(self, folder: Path) -> Path:
        """Copy TPM, variables and deployment volume into `folder`; return the copy of the volume.

        The machine's folder is `folder/machine`.
        """
        ignored = shutil.ignore_patterns("*.log", "*.trace")
        shutil.copytree(self.machine_folder, folder / "machine", ignore=ignored)
        shutil.copyfile(self.deployment, folder / "deployment.raw")
        return folder / "deployment.raw"
