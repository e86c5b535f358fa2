# SPDX-License-Identifier: Apache-2.0
"""What the parts of a run share, each made when it is first asked for: image, pack, provisioned machine.

Everything lies in `build/.bench`, which a run leaves for the next one to overwrite.
"""

from functools import cached_property
from pathlib import Path

from mantlet.edge import accelerator, demo_model, files, image, output, pack, project
from mantlet.edge.accelerator import Accelerator
from mantlet.edge.bench.provisioning import BOOT_SECONDS, Exchange, Provisioning
from mantlet.edge.keys import KeyFolder
from mantlet.edge.machine import Hardware, Line, Machine
from mantlet.edge.pack_files import Pack
from mantlet.edge.pack_plan import Label
from mantlet.edge.software_tpm import Authority
from mantlet.edge.tools import ToolsTree

LABEL = Label(id="bench", version="1", epoch=1)


class Site:
    """One run's materials."""

    def __init__(self, *, model: Path | None, rounds: int) -> None:
        """Take the model (SmolLM2 when there is none) and how often each thing is measured."""
        self.rounds = rounds
        self.folder = project.build_folder() / ".bench"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.keys = KeyFolder(project.key_folder())
        self.authority = Authority(folder=project.key_folder() / "swtpm-ca")
        self._model = model

    @cached_property
    def tools(self) -> ToolsTree:
        """The tools tree."""
        return ToolsTree.current()

    @cached_property
    def accelerator(self) -> Accelerator:
        """How guests run here."""
        return accelerator.probe(self.tools)

    @cached_property
    def model(self) -> Path:
        """The model that is packed and served."""
        return self._model or demo_model.fetch()

    @cached_property
    def build(self) -> Path:
        """The image: `build/latest`, built when it is missing."""
        directory = image.latest()
        if not directory.exists():
            image.build(keys=self.keys, tools=self.tools)
        return directory.resolve()

    @cached_property
    def pack(self) -> Pack:
        """The model's pack."""
        return pack.write(
            self.model,
            self.folder / "pack",
            label=LABEL,
            file=None,
            key_file=None,
            owner=self.keys.owner(),
            tools=self.tools,
        )

    @cached_property
    def _served(self) -> tuple[Machine, Exchange]:
        return self.provisioned("serving", build=self.build, weights=self.pack.image)

    @property
    def machine(self) -> Machine:
        """The machine that serves the model, off; its key is sealed to it."""
        return self._served[0]

    @property
    def exchange(self) -> Exchange:
        """A verification of that machine while it served, taken in its first boot."""
        return self._served[1]

    def provisioned(self, name: str, *, build: Path, weights: Path) -> tuple[Machine, Exchange]:
        """Make a machine whose state is in a folder of this name, and have it served once; it is off again.

        build: the directory of its image; weights: the disk that it takes for the pack's.
        """
        output.step(f"Provisioning the {name} machine…")
        provisioning = Provisioning(build=build, pack=self.pack, keys=self.keys)
        volume = self.folder / f"{name}-deployment.raw"
        provisioning.write_deployment(volume, tools=self.tools)
        hardware = Hardware(
            disk=build / "disk.raw",
            variables=build / "OVMF_VARS.fd",
            deployment=volume,
            weights=weights,
        )
        machine = self.new_machine(name, hardware)
        return machine, provisioning.run(machine)

    def power_on(self, machine: Machine, wanted: Line) -> float:
        """Boot a machine and power it off; return the seconds from power-on to the wanted line."""
        with machine:
            machine.wait_for(wanted, seconds=BOOT_SECONDS)
            return machine.elapsed

    def new_machine(self, name: str, hardware: Hardware) -> Machine:
        """A machine that was never on, whose state is in a folder of this name."""
        return Machine(
            folder=files.new_directory(self.folder / name),
            hardware=hardware,
            tools=self.tools,
            authority=self.authority,
            accelerator=self.accelerator,
        )
