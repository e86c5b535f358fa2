# SPDX-License-Identifier: Apache-2.0
"""What somebody at the machine tries while it serves: consoles, keys, a guest agent, devices, the wire."""

from mantlet.attack import signs
from mantlet.attack.changes import Vsock
from mantlet.attack.model import Attack, Control, Sign

GROUP = "ports"


def _live(name: str, title: str, sign: Sign, *probes: str, rule: str | None = None) -> Attack:
    return Attack(
        id=name,
        name=rule or name,
        title=title,
        probes=probes or (name,),
        sign=sign,
        control=Control.WEAKENED_BUILD,
        group=GROUP,
        fast=True,
    )


def _found(name: str, words: str) -> Sign:
    return signs.found(name, words=words)


ATTACKS: tuple[Attack, ...] = (
    _live(
        "serial-consoles",
        "Four serial ports, and somebody who types at each",
        signs.spoke("serial0", "serial1", "serial2", "serial3", words="a serial port says something"),
    ),
    _live("virtio-console", "A virtio console, and somebody who types", signs.spoke("hvc0")),
    _live(
        "keyboard-and-screen",
        "A screen and a keyboard: terminals, Ctrl-Alt-Del, Enter",
        _found("keyboard-and-screen", "the screen changes, or the machine restarts"),
    ),
    _live(
        "sysrq",
        "Magic SysRq by keys and by BREAK",
        _found("sysrq", "a port or the screen answers, or the machine restarts"),
    ),
    _live("guest-agent", "QEMU's guest agent is called", _found("guest-agent", "somebody answers")),
    _live(
        "odd-devices",
        "Devices of every kind, at boot and at run time",
        _found("odd-devices", "a driver takes one"),
    ),
    _live(
        "port-scan",
        "Every TCP port, and the UDP ports of common services",
        _found("port-scan", "another port than 443 answers"),
    ),
    _live(
        "admin-routes",
        "Routes of administration, on the one port that is open",
        _found("admin-routes", "one answers"),
    ),
    _live(
        "canary-sweep",
        "Prompts with canaries: valid, malformed, oversize, cancelled; then a search of all the host has",
        _found("canary-sweep", "a canary is found"),
    ),
    Attack(
        id="vsock",
        name="vsock",
        title="A socket between host and guest, and a scan of its ports",
        changes=(Vsock(cid=4711),),
        probes=("vsock",),
        sign=_found("vsock", "a port accepts"),
        control=Control.WEAKENED_BUILD,
        group=GROUP,
    ),
    Attack(
        id="login-fuse",
        name="login-fuse",
        title="What was typed, called and asked until here, and whether evidence tells of a program",
        probes=("login-fuse",),
        sign=_found("login-fuse", "the login fuse burns"),
        control=Control.WEAKENED_BUILD,
        group=GROUP,
    ),
    _live("nmi", "A non-maskable interrupt", _found("nmi", "a port answers, or the machine restarts")),
)
"""All in one boot; the interrupt comes last."""
