# SPDX-License-Identifier: Apache-2.0
"""What is tried on a machine that serves, from its ports, keys, bus, wire and front.

A probe takes the scene and says what of it succeeded, a phrase each; bytes on ports are seen without it. The
families with more to them have modules of their own.
"""

import json
import re
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from mantlet.client.attest import fetch_evidence
from mantlet.edge.attack import consoles, damage, escape_probes, gear, shares, vsock
from mantlet.edge.attack.canaries import sweep, tls
from mantlet.edge.attack.memory import dump
from mantlet.edge.attack.scene import Probe, Scene
from mantlet.edge.attack.wire import OURS_MAC, checksum
from mantlet.edge.bench.provisioning import connect
from mantlet_measure import evidence, words

# To read what a disk had, and to notice that it has it no more.
_READ_SECONDS = 30.0
_LIMIT = 1 << 20
# DNS, DHCP server, TFTP, NTP, SNMP, QUIC, IKE, NFS, mDNS, LLMNR, WireGuard, and one that nobody uses.
_UDP_PORTS = (53, 67, 69, 123, 161, 443, 500, 2049, 5353, 5355, 51820, 31337)
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


def _guest_agent(scene: Scene) -> tuple[str, ...]:
    port = scene.ports[gear.GUEST_AGENT]
    for command in ("guest-sync", "guest-info"):
        arguments = {"id": 4711} if command == "guest-sync" else {}
        port.type(json.dumps({"execute": command, "arguments": arguments}).encode("ascii") + b"\n")
    scene.pace.wait(lambda: port.heard)
    return (f"the guest agent answered {len(port.heard)} bytes",) if port.heard else ()


def _odd_devices(scene: Scene) -> tuple[str, ...]:
    """Plug more devices in. Of a virtio device it is traced when a driver takes it."""
    monitor, trace = scene.monitor, scene.folder / gear.TRACE
    monitor.call("device_add", driver="usb-kbd", id="late-kbd", bus="usb.0")
    monitor.call("device_add", driver="usb-serial", id="late-serial", bus="usb.0", chardev="late")
    found = []
    for device in gear.LATE:
        known = len(_driven(trace))
        monitor.call("device_add", driver=device, id=f"late-{device}", bus=f"slot-{device}")
        scene.pace.wait(partial(_more_than, known, trace))
        if _more_than(known, trace):
            found.append(f"a driver took {device}")
    return tuple(found)


def _more_than(known: int, trace: Path) -> bool:
    return len(_driven(trace)) > known


def _driven(trace: Path) -> set[str]:
    """The virtio devices that a driver has taken so far, by their addresses in QEMU."""
    told = _DRIVER.findall(trace.read_text("utf-8"))
    return {device for device, status in told if int(status) & _IS_DRIVEN}


def _port_scan(scene: Scene) -> tuple[str, ...]:
    scene.wire.find()
    answers = scene.wire.scan_tcp(range(1, 65536))
    accepted = [port for port, accepts in answers.items() if accepts and port != 443]
    found = [f"TCP port {port} accepts" for port in accepted]
    # A silent port would prove nothing: each has to say that nobody is there.
    if silent := 65535 - len(answers):
        found.append(f"{silent} TCP ports stay silent")
    for port in _UDP_PORTS:
        datagrams, unreachable = scene.wire.probe_udp(port)
        if datagrams:
            found.append(f"UDP port {port} answers")
        elif not unreachable:
            found.append(f"UDP port {port} stays silent")
    return tuple(found)


def _ssh(scene: Scene) -> tuple[str, ...]:
    scene.wire.find()
    accepted = [port for port, accepts in scene.wire.scan_tcp((22, 2222)).items() if accepts]
    return tuple(f"TCP port {port} accepts" for port in accepted)


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


def _root_detached(scene: Scene) -> tuple[str, ...]:
    """Take the root's disk away: nothing but zeros comes from it from now on. Then make the machine read."""
    disk = Path(scene.machine.hardware.disk)
    damage.expect(disk.is_relative_to(scene.folder), "a disk of this boot's own, to be taken away")
    size = disk.stat().st_size
    with disk.open("r+b") as file:
        file.truncate(0)
        file.truncate(size)
    answered = consoles.listening(scene, *gear.SERIAL)
    consoles.type_hopes(scene, *gear.SERIAL)
    scene.ports["serial1"].type(b"cat /usr/bin/* /usr/lib/x86_64-linux-gnu/* >/dev/null\r")
    scene.pace.wait(lambda: not scene.machine.is_on(), least=_READ_SECONDS)
    return tuple(f"{name} answered" for name in answered())


PROBES: Mapping[str, Probe] = {
    **consoles.PROBES,
    "guest-agent": _guest_agent,
    "odd-devices": _odd_devices,
    "port-scan": _port_scan,
    "admin-routes": _admin_routes,
    "ssh-credential": _ssh,
    "shared-folder": shares.opened,
    "router-advertisement": _router,
    "canary-sweep": sweep,
    "memory-dump": dump,
    "login-fuse": _login_fuse,
    "clock": _clock,
    "vsock": vsock.scan,
    "root-detached": _root_detached,
    **escape_probes.PROBES,
}
"""By name; the names of attacks. What is looked at afterwards is in `after`."""
