# SPDX-License-Identifier: Apache-2.0
"""The boot of a machine whose owner gives it a model that is made to harm.

The machine is new, and provisioned with the hostile model as any machine is with its own. Owns that boot,
from the packing to the observation; the models are in `hostile_models`.
"""

import tempfile
import time
from dataclasses import replace
from pathlib import Path

from mantlet.attack.catalogue.runtime import HANDS, MEMORY
from mantlet.attack.changes import FOLDER
from mantlet.attack.observation import End, Observation
from mantlet.edge.attack.boot import Seen, measured
from mantlet.edge.attack.escape_probes import CORE
from mantlet.edge.attack.guest_memory import GuestMemory
from mantlet.edge.attack.heard import beside_lines
from mantlet.edge.attack.hostile_models import hostile
from mantlet.edge.attack.stand import Stand
from mantlet.edge.bench.provisioning import AWAITING_KEY, SERVING, Provisioning
from mantlet.edge.machine import Machine
from mantlet_measure.errors import MantletError
from mantlet_measure.pcr import Bank

_POLL = 0.5


def hostile_boot(stand: Stand, lie: str, *, bound: float) -> Seen:
    """Provision a new machine of the stand's build with a hostile model; watch it until it serves or is off.

    bound: seconds from power-on after which it is said to stay on. A machine that does not take its key was
    not attacked: what the model's probe would find is not run.
    """
    # Unix sockets have short names only.
    with tempfile.TemporaryDirectory(prefix="mantlet-") as name:
        folder = Path(name)
        model = folder / "hostile.gguf"
        model.write_bytes(hostile(lie))
        provisioning = replace(stand.provisioning, pack=stand.packed(model, folder / "pack"))
        provisioning.write_deployment(folder / "deployment.raw", tools=stand.tools)
        hardware = replace(
            stand.hardware(deployment=folder / "deployment.raw"),
            weights=provisioning.pack.image,
            extra=tuple(word.replace(FOLDER, name) for word in HANDS.words),
            extra_folders=(folder,),
        )
        machine = stand.machine(folder / "machine", hardware)
        with machine:
            not_run = _provision(machine, provisioning, bound)
            end = _end(machine, bound if not not_run else 0.0)
            seconds = machine.elapsed
        cores = list(GuestMemory(folder / MEMORY).find(CORE))
        codes, registers = measured(machine)
        observation = Observation(
            end=end,
            seconds=round(seconds, 1),
            lines=tuple(f"{line.stage} {line.code}" for line in machine.lines()),
            unseal=codes,
            registers=registers.get(Bank.SHA256, {}),
            heard={"serial0": beside_lines(machine)},
            found={MEMORY: (f"{len(cores)} cores are in memory",) if cores else ()},
            not_run=not_run,
        )
        return Seen(observation=observation, registers=registers)


def _provision(machine: Machine, provisioning: Provisioning, bound: float) -> dict[str, str]:
    """Hand the key over; return why nothing can be tried, by probe, when the machine does not come so far."""
    try:
        machine.wait_for(AWAITING_KEY, seconds=bound)
        provisioning.seal(machine)
    except MantletError as error:
        return {MEMORY: f"the machine was not provisioned: {error.message}"}
    return {}


def _end(machine: Machine, bound: float) -> End:
    while machine.is_on():
        if SERVING in machine.lines():
            return End.SERVING
        if machine.elapsed > bound:
            return End.ON
        time.sleep(_POLL)
    return End.OFF
