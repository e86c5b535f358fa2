# SPDX-License-Identifier: Apache-2.0
"""A machine with all that somebody could plug in: ports of every kind, a screen, keys, a neighbour."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from mantlet.cli.boot import SERVING
from mantlet.edge.attack import wire
from mantlet.edge.attack.ports import Port
from mantlet.edge.attack.qmp import Monitor
from mantlet.edge.attack.wire import Wire
from mantlet.edge.machine import Line, Machine
from tests.vm.rig import BOOT_SECONDS, Rig, Site

SERIAL = ("serial2", "serial3", "serial4")
VIRTIO = "virtio"


@dataclass(frozen=True, kw_only=True)
class Exposed:
    """The machine, serving, and who sits at it.

    first_screen: the picture when the agent said its first line, long after the firmware had handed over.
    """

    machine: Machine
    folder: Path
    ports: Mapping[str, Port]
    wire: Wire
    monitor: Monitor
    first_screen: bytes


@contextmanager
def exposed(rig: Rig, site: Site, folder: Path) -> Iterator[Exposed]:
    """Boot a machine that has its key, with everybody at their places from power-on."""
    words: list[str] = []
    for name in (*SERIAL, VIRTIO):
        words += ["-chardev", f"socket,id={name},path={folder / name},server=on,wait=off"]
    for name in SERIAL:
        words += ["-serial", f"chardev:{name}"]
    words += ["-device", "virtio-serial-pci", "-device", f"virtconsole,chardev={VIRTIO}"]
    words += ["-device", "VGA", "-device", "qemu-xhci", "-device", "usb-kbd", *wire.qemu_words(folder)]
    hardware = replace(rig.hardware(site), extra=tuple(words), extra_folders=(folder,))
    with ExitStack() as stack:
        machine = rig.boot(site, hardware)
        ports = {name: stack.enter_context(Port(folder / name)) for name in (*SERIAL, VIRTIO)}
        neighbour = stack.enter_context(wire.connected(folder))
        monitor = stack.enter_context(Monitor(machine))
        machine.wait_for(Line("inspect", "ok"), seconds=BOOT_SECONDS)
        screen = monitor.screen(folder / "screen")
        machine.wait_for(SERVING, seconds=BOOT_SECONDS)
        yield Exposed(
            machine=machine,
            folder=folder,
            ports=ports,
            wire=neighbour,
            monitor=monitor,
            first_screen=screen,
        )
