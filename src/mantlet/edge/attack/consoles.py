# SPDX-License-Identifier: Apache-2.0
"""Somebody at the consoles of a machine that serves: types, presses keys, sends BREAK, SysRq and an NMI.

A probe takes the scene and says what of it succeeded, a phrase each; bytes on ports are seen without it.
"""

import time
from collections.abc import Callable, Mapping

from mantlet.edge.attack import gear
from mantlet.edge.attack.ports import Port
from mantlet.edge.attack.scene import Probe, Scene

# What somebody types who hopes for a prompt.
HOPES = (b"\r", b"\r\r", b"root\r", b"\x03", b"\x1b", b"id\r", b"echo typed-$((40+2))\r")
CELL_WIDTH, CELL_HEIGHT = 8, 16


def pixels(picture: bytes) -> bytes:
    """The pixels of a picture (PPM), without the first character's cell: there blinks the kernel's cursor."""
    _, size, _, found = picture.split(b"\n", 3)
    row = 3 * int(size.split()[0])
    cell = 3 * CELL_WIDTH
    return b"".join(
        found[start + (cell if start < row * CELL_HEIGHT else 0) : start + row]
        for start in range(0, len(found), row)
    )


def type_hopes(scene: Scene, *names: str) -> None:
    """Type at ports whatever might be answered."""
    for name in names:
        for text in HOPES:
            scene.ports[name].type(text)
            time.sleep(0.1)


def listening(scene: Scene, *names: str) -> Callable[[], list[str]]:
    """Return what tells which of the ports have said something since now."""
    before = {name: len(scene.ports[name].heard) for name in names}
    return lambda: [name for name, size in before.items() if len(scene.ports[name].heard) > size]


def _serial(scene: Scene) -> tuple[str, ...]:
    answered = listening(scene, *gear.SERIAL)
    type_hopes(scene, *gear.SERIAL)
    for name in gear.SERIAL:
        scene.monitor.call("chardev-send-break", id=name)
    cable = scene.folder / "cable"
    scene.monitor.plug_cable("serial", cable, log=scene.machine.serial)
    with Port(cable) as port:
        for text in HOPES:
            port.type(text)
        scene.monitor.call("chardev-send-break", id="serial")
        scene.pace.wait(lambda: port.heard or answered())
        heard = port.heard
    return (f"serial0 answered {len(heard)} bytes",) if heard else ()


def _virtio_console(scene: Scene) -> tuple[str, ...]:
    answered = listening(scene, gear.HVC)
    type_hopes(scene, gear.HVC)
    scene.pace.wait(answered)
    return ()


def _screen(scene: Scene, what: str) -> tuple[str, ...]:
    def lit() -> int:
        return sum(1 for value in pixels(scene.monitor.screen(scene.folder / "screen")) if value)

    scene.pace.wait(lit)
    found = lit()
    return (f"{what}: the screen shows something ({found} values that are not black)",) if found else ()


def _keyboard(scene: Scene) -> tuple[str, ...]:
    """Look, then press keys, the rudest last. What is seen first ends it: the machine may not live longer."""
    monitor = scene.monitor
    if found := _screen(scene, "before any key"):
        return found
    for key in ("f1", "f2", "f3", "f9", "f12", "f1"):
        monitor.press("ctrl", "alt", key)
    for letter in ("r", "o", "o", "t", "ret", "ret"):
        monitor.press(letter)
    if found := _screen(scene, "after the keys"):
        return found
    for _ in range(8):
        monitor.press("ctrl", "alt", "delete")
    return (*_screen(scene, "after Ctrl-Alt-Del"), *_restarted(scene))


def _sysrq(scene: Scene) -> tuple[str, ...]:
    """Ask for help by keys and by BREAK at each port, the agent's too; restart only where nobody helped."""
    answered = listening(scene, *gear.SERIAL, gear.HVC)
    cable = scene.folder / "sysrq"
    scene.monitor.plug_cable("serial", cable, log=scene.machine.serial)
    with Port(cable) as first:
        scene.monitor.press("alt", "sysrq", "h")
        for name, port in {"serial": first, **{name: scene.ports[name] for name in gear.SERIAL}}.items():
            scene.monitor.call("chardev-send-break", id=name)
            time.sleep(0.2)
            port.type(b"h")
        scene.ports[gear.HVC].type(b"\x0fh")
        scene.pace.wait(lambda: first.heard or answered())
        heard = len(first.heard)
    names = (*(["serial0"] if heard else []), *answered())
    if found := tuple(f"{name} answered to SysRq" for name in names):
        return found
    scene.monitor.press("alt", "sysrq", "b")
    scene.pace.wait(lambda: _restarted(scene))
    return _restarted(scene)


def _restarted(scene: Scene) -> tuple[str, ...]:
    events = [event for event in scene.monitor.drain() if event.startswith(("RESET guest", "SHUTDOWN guest"))]
    return tuple(f"the hypervisor saw {event}" for event in events)


def _nmi(scene: Scene) -> tuple[str, ...]:
    answered = listening(scene, *gear.SERIAL, gear.HVC)
    said = len(scene.machine.serial.read_bytes())
    scene.monitor.call("inject-nmi")

    def effect() -> tuple[str, ...]:
        names = ("serial0", *answered()) if len(scene.machine.serial.read_bytes()) > said else answered()
        return (*(f"{name} answered to it" for name in names), *_restarted(scene))

    scene.pace.wait(effect)
    return effect()


PROBES: Mapping[str, Probe] = {
    "serial-consoles": _serial,
    "virtio-console": _virtio_console,
    "keyboard-and-screen": _keyboard,
    "sysrq": _sysrq,
    "nmi": _nmi,
}
"""By name; the names of attacks."""
