# SPDX-License-Identifier: Apache-2.0
"""One boot under attack while it is on: the machine and who sits at its ports, wire, screen and monitor.

Owns the type that every probe is handed, and the probes' own type. What a probe finds, it returns in words;
what it cannot try on this host, it says by `CannotTryError`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mantlet.edge.attack.pace import Pace
from mantlet.edge.attack.ports import Port
from mantlet.edge.attack.qmp import Monitor
from mantlet.edge.attack.stand import Stand
from mantlet.edge.attack.wire import Wire
from mantlet.edge.machine import Machine
from mantlet_measure.errors import MantletError


class CannotTryError(MantletError):
    """This host has no means for the probe. The message is the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A machine that is on.

    stand: build, tools and the provisioned machine that this one is a copy of; folder: of this boot, with a
    short name, bound into QEMU's sandbox; ports: by name, as `gear` has them; pace: of its waits.
    """

    machine: Machine
    stand: Stand
    folder: Path
    monitor: Monitor
    ports: Mapping[str, Port]
    wire: Wire
    pace: Pace


Probe = Callable[[Scene], tuple[str, ...]]
"""Tries something on a machine that serves; returns what of it succeeded, a phrase each. CannotTryError."""
