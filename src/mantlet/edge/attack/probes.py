# SPDX-License-Identifier: Apache-2.0
"""What is tried on a machine that serves, from its ports, keys, bus, wire and front.

A probe takes the scene and says what of it succeeded, a phrase each; bytes on ports are seen without it. The
families with more to them have modules of their own.
"""

import json
import re
import time
from collections.abc import Mapping
from pathlib import Path

from mantlet.client.attest import fetch_evidence
from mantlet.edge.attack import escape_probes, gear, vsock
from mantlet.edge.attack.canaries import sweep, tls
from mantlet.edge.attack.memory import dump
from mantlet.edge.attack.ports import Port
from mantlet.edge.attack.scene import CannotTryError, Probe, Scene
from mantlet.edge.attack.wire import OURS_MAC, checksum
from mantlet.edge.bench.provisioning import connect
from mantlet_measure import evidence, words

# What somebody types who hopes for a prompt, and how long he waits for an answer.
HOPES = (b"\r", b"\r\r", b"root\r", b"\x03", b"\x1b", b"id\r", b"echo typed-$((40+2))\r")
WAIT = 3.0
CELL_WIDTH, CELL_HEIGHT = 8, 16
_LIMIT = 1 << 20
# DNS, DHCP server, TFTP, NTP, SNMP, NFS, mDNS, LLMNR.
_UDP_PORTS = (53, 67, 69, 123, 161, 2049, 5353, 5355)
_ROUTES = (
    *(
        "/",
        "/slots",
        "/props",
        "/metrics",
        "/health",
        "/completion",
        "/tokenize",
        "/lora-adapters",
        "/infill",
    ),
    *(
        "/admin",
        "/debug",
        "/shell",
        "/exec",
        "/config",
        "/logs",
        "/update",
        "/support",
        "/status",
        "/api/tags",
    ),
    *("/.well-known/mantlet/", "/.well-known/mantlet/nope", "/v1/../slots", "//slots", "/server-status"),
)
# The device's address in QEMU, and its status as the guest wrote it (virtio 1.2, 2.1: DRIVER_OK).
_DRIVER = re.compile(r"virtio_set_status vdev (0x[0-9a-f]+) val (\d+)")
_IS_DRIVEN = 4
_ALL_NODES_MAC = bytes.fromhex("333300000001")


def pixels(picture: bytes) -> bytes:
    """The pixels of a picture (PPM), without the first character's cell: there blinks the kernel's cursor."""
    _, size, _, found = picture.split(b"\n", 3)
    row = 3 * int(size.split()[0])
    cell = 3 * CELL_WIDTH
    return b"".join(
        found[start + (cell if start < row * CELL_HEIGHT else 0) : start + row]
        for start in range(0, len(found), row)
    )


def _type(scene: Scene, *names: str) -> None:
    for name in names:
        for text in HOPES:
            scene.ports[name].type(text)
            time.sleep(0.1)


def _serial(scene: Scene) -> tuple[str, ...]:
    _type(scene, *gear.SERIAL)
    for name in gear.SERIAL:
        scene.monitor.call("chardev-send-break", id=name)
    cable = scene.folder / "cable"
    scene.monitor.plug_cable("serial", cable, log=scene.machine.serial)
    with Port(cable) as port:
        for text in HOPES:
            port.type(text)
        scene.monitor.call("chardev-send-break", id="serial")
        time.sleep(WAIT)
        heard = port.heard
    return (f"serial0 answered {len(heard)} bytes",) if heard else ()


def _virtio_console(scene: Scene) -> tuple[str, ...]:
    _type(scene, gear.HVC)
    time.sleep(WAIT)
    return ()


def _screen(scene: Scene, what: str) -> tuple[str, ...]:
    time.sleep(WAIT)
    lit = sum(1 for value in pixels(scene.monitor.screen(scene.folder / "screen")) if value)
    return (f"{what}: the screen shows something ({lit} values that are not black)",) if lit else ()


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
    names = (*gear.SERIAL, gear.HVC)
    before = {name: len(scene.ports[name].heard) for name in names}
    cable = scene.folder / "sysrq"
    scene.monitor.plug_cable("serial", cable, log=scene.machine.serial)
    with Port(cable) as first:
        scene.monitor.press("alt", "sysrq", "h")
        for name, port in {"serial": first, **{name: scene.ports[name] for name in gear.SERIAL}}.items():
            scene.monitor.call("chardev-send-break", id=name)
            time.sleep(0.2)
            port.type(b"h")
        scene.ports[gear.HVC].type(b"\x0fh")
        time.sleep(WAIT)
        heard = len(first.heard)
    grown = [name for name, size in before.items() if len(scene.ports[name].heard) > size]
    if found := tuple(f"{name} answered to SysRq" for name in (*(["serial0"] if heard else []), *grown)):
        return found
    scene.monitor.press("alt", "sysrq", "b")
    time.sleep(WAIT)
    return _restarted(scene)


def _restarted(scene: Scene) -> tuple[str, ...]:
    events = [event for event in scene.monitor.drain() if event.startswith(("RESET guest", "SHUTDOWN guest"))]
    return tuple(f"the hypervisor saw {event}" for event in events)


def _guest_agent(scene: Scene) -> tuple[str, ...]:
    port = scene.ports[gear.GUEST_AGENT]
    for command in ("guest-sync", "guest-info"):
        arguments = {"id": 4711} if command == "guest-sync" else {}
        port.type(json.dumps({"execute": command, "arguments": arguments}).encode("ascii") + b"\n")
    time.sleep(WAIT)
    return (f"the guest agent answered {len(port.heard)} bytes",) if port.heard else ()


def _odd_devices(scene: Scene) -> tuple[str, ...]:
    """Plug more devices in. Of a virtio device it is traced when a driver takes it."""
    monitor, trace = scene.monitor, scene.folder / gear.TRACE
    monitor.call("device_add", driver="usb-kbd", id="late-kbd", bus="usb.0")
    monitor.call("device_add", driver="usb-serial", id="late-serial", bus="usb.0", chardev="late")
    known = set(_DRIVER.findall(trace.read_text("utf-8")))
    found = []
    for device in gear.LATE:
        monitor.call("device_add", driver=device, id=f"late-{device}", bus=f"slot-{device}")
        time.sleep(WAIT)
        taken = {
            vdev for vdev, status in _DRIVER.findall(trace.read_text("utf-8")) if int(status) & _IS_DRIVEN
        }
        if new := taken - {vdev for vdev, _ in known}:
            found.append(f"a driver took {device}")
            known |= {(vdev, "") for vdev in new}
    return tuple(found)


def _port_scan(scene: Scene) -> tuple[str, ...]:
    scene.wire.find()
    answers = scene.wire.scan_tcp(range(1, 65536))
    accepted = [port for port, accepts in answers.items() if accepts and port != 443]
    found = [f"TCP port {port} accepts" for port in accepted]
    for port in _UDP_PORTS:
        if scene.wire.probe_udp(port)[0]:
            found.append(f"UDP port {port} answers")
    return tuple(found)


def _ssh(scene: Scene) -> tuple[str, ...]:
    scene.wire.find()
    accepted = [port for port, accepts in scene.wire.scan_tcp((22, 2222)).items() if accepts]
    return tuple(f"TCP port {port} accepts" for port in accepted)


def _shared(scene: Scene) -> tuple[str, ...]:
    raise CannotTryError(
        "the tools tree has no server for virtiofs, and the kernel of the image no 9p",
        hint="add virtiofsd to image/tools.yaml",
    )


def _admin_routes(scene: Scene) -> tuple[str, ...]:
    found = []
    with connect(scene.machine) as connection:
        for path in _ROUTES:
            for method in ("GET", "POST"):
                body = b"{}" if method == "POST" else None
                status = connection.request(method, path, body, limit=_LIMIT).status
                if status not in (400, 404, 405):
                    found.append(f"{method} {path} answered {status}")
    return tuple(found)


def _router(scene: Scene) -> tuple[str, ...]:
    """Advertise a prefix, a router and a name server (RFC 4861, 4.2; RFC 8106)."""
    source = bytes.fromhex("fe80000000000000000000fffe000063")
    target = bytes.fromhex("ff020000000000000000000000000001")
    prefix = bytes.fromhex("0304 40c0 00015180 00003840 00000000 20010db8000000000000000000000000")
    body = bytes.fromhex("86000000 40000708 00000000 00000000") + prefix
    pseudo = source + target + len(body).to_bytes(4, "big") + b"\0\0\0\x3a"

    body = body[:2] + checksum(pseudo + body).to_bytes(2, "big") + body[4:]
    head = b"\x60\0\0\0" + len(body).to_bytes(2, "big") + b"\x3a\xff" + source + target
    for _ in range(3):
        scene.wire.send(_ALL_NODES_MAC + OURS_MAC + b"\x86\xdd" + head + body)
        time.sleep(1.0)
    return ()


def _clock(scene: Scene) -> tuple[str, ...]:
    """The front says what the machine takes for the date."""
    with tls(scene.machine) as secured:
        secured.sendall(b"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        said = secured.recv(4096)
    return tuple(
        f"the front answers with {line.decode('ascii')}" for line in said.splitlines() if b"2031" in line
    )


def _login_fuse(scene: Scene) -> tuple[str, ...]:
    """Ask for evidence, and read of its log whether a program has started since the machine serves."""
    with connect(scene.machine) as connection:
        said = evidence.decode(fetch_evidence(connection, bytes(evidence.NONCE_SIZE)))
    return tuple(
        f"the login fuse burnt: {word.word}" for word in said.agent_log if word.event == words.FUSE_EVENT
    )


def _nmi(scene: Scene) -> tuple[str, ...]:
    scene.monitor.call("inject-nmi")
    time.sleep(WAIT)
    return ()


def _root_detached(scene: Scene) -> tuple[str, ...]:
    """Take the root's disk away: nothing but zeros comes from it from now on. Then make the machine read."""
    disk = Path(scene.machine.hardware.disk)
    size = disk.stat().st_size
    with disk.open("r+b") as file:
        file.truncate(0)
        file.truncate(size)
    _type(scene, *gear.SERIAL)
    scene.ports["serial1"].type(b"cat /usr/bin/* /usr/lib/x86_64-linux-gnu/* >/dev/null\r")
    time.sleep(10 * WAIT)
    return ()


PROBES: Mapping[str, Probe] = {
    "serial-consoles": _serial,
    "virtio-console": _virtio_console,
    "keyboard-and-screen": _keyboard,
    "sysrq": _sysrq,
    "guest-agent": _guest_agent,
    "odd-devices": _odd_devices,
    "port-scan": _port_scan,
    "admin-routes": _admin_routes,
    "ssh-credential": _ssh,
    "shared-folder": _shared,
    "router-advertisement": _router,
    "canary-sweep": sweep,
    "memory-dump": dump,
    "login-fuse": _login_fuse,
    "nmi": _nmi,
    "clock": _clock,
    "vsock": vsock.scan,
    "root-detached": _root_detached,
    **escape_probes.PROBES,
}
"""By name; the names of attacks. What is looked at afterwards is in `after`."""
