# SPDX-License-Identifier: Apache-2.0
"""What systemd starts by itself: generators, units outside the image's list, sockets, presets.

Follows systemd.generator(7), systemd.preset(5) and systemd.socket(5).
"""

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType

from mantlet.audit import units, wanted
from mantlet.audit.finding import Finding, Policy, Remedy, Severity
from mantlet.audit.image import Image
from mantlet.audit.tree import INITRD, ROOT, Tree
from mantlet.audit.units import Units

GENERATORS, GPT_AUTO, SSH = "generators", "gpt-auto", "ssh-generator"
UNITS, SOCKETS, PRESETS = "started-units", "listening-sockets", "presets"
_GPT, _SSH_FILES = "systemd-gpt-auto-generator", ("systemd-ssh-generator", "systemd-ssh-proxy", "sshd")
# Whoever enables these by a preset means it.
_NEVER = frozenset({"getty@.service", "debug-shell.service", "sshd.service", "ssh.service"})
_MACHINE_ID = re.compile(r"[0-9a-f]{32}")
_PLACE = re.compile(r"/systemd/system-(generators|environment-generators|shutdown|sleep)/[^/]+$")
# What each known one does with input from outside the image.
_KNOWN: Mapping[str, tuple[Severity, str]] = MappingProxyType(
    {
        "systemd-run-generator": (Severity.HIGH, "runs a program that the command line names"),
        "systemd-debug-generator": (
            Severity.HIGH,
            "starts units that credentials and the command line bring",
        ),
        "systemd-getty-generator": (Severity.HIGH, "starts login prompts on devices that it finds"),
        "systemd-fstab-generator": (Severity.MEDIUM, "mounts what the command line and credentials name"),
        "systemd-cryptsetup-generator": (Severity.MEDIUM, "opens volumes, and asks for passphrases"),
        "systemd-hibernate-resume-generator": (Severity.HIGH, "resumes an image that an EFI variable names"),
        "systemd-import-generator": (Severity.HIGH, "downloads images that credentials name"),
        "systemd-imds-generator": (Severity.HIGH, "asks a metadata server that SMBIOS names"),
        "systemd-factory-reset-generator": (Severity.MEDIUM, "wipes partitions when an EFI variable says so"),
        "systemd-system-update-generator": (
            Severity.MEDIUM,
            "boots into an update that a link in / asks for",
        ),
        "systemd-sysv-generator": (Severity.MEDIUM, "makes units of scripts"),
        "systemd-rc-local-generator": (Severity.MEDIUM, "runs /etc/rc.local"),
        "cloud-init-generator": (Severity.HIGH, "runs what the cloud's user data says"),
        # The root hash comes from the command line in the UKI, or the root does not open.
        "systemd-veritysetup-generator": (Severity.LOW, ""),
    }
)
_finding = Remedy(
    "remove the file from the image; where its work is needed, write the unit that it would make"
).finding


def generators(image: Image, policy: Policy) -> Iterator[Finding]:
    """No generator makes units at boot out of what the machine is given."""
    for tree in image.trees:
        for path in generator_files(tree):
            name = path.rsplit("/", 1)[1]
            severity, does = _KNOWN.get(name, (Severity.MEDIUM, "makes units, or runs, at each boot"))
            if does and name not in (_GPT, *_SSH_FILES) and not tree.is_masked(path):
                yield _finding(GENERATORS, severity, tree.subject(path), "no generator", f"one that {does}")


def generator_files(tree: Tree) -> tuple[str, ...]:
    """Return what lies where PID 1 looks for programs to run at boot, shutdown and sleep."""
    return tuple(
        path
        for path, node in sorted(tree.nodes.items())
        if node.is_program and _PLACE.search(path) is not None
    )


def gpt_auto(image: Image, policy: Policy) -> Iterator[Finding]:
    """No partition is mounted because of its type."""
    yield from _named(image, GPT_AUTO, (_GPT,), "partitions are mounted by type, from any disk that has them")


def ssh_generator(image: Image, policy: Policy) -> Iterator[Finding]:
    """Nothing binds an SSH server to vsock or to a socket."""
    yield from _named(image, SSH, _SSH_FILES, "it binds an SSH server, or is one")


def started_units(image: Image, policy: Policy) -> Iterator[Finding]:
    """Boot and devices start the units of the image's list and no others; without a list, they start some."""
    for tree in image.trees:
        listed = policy.units.get(tree.name)
        found = units.of(tree)
        if not found.files:
            yield _finding(UNITS, Severity.MEDIUM, tree.subject("/"), "units of systemd", "none")
        if listed is None:
            continue
        started, devices = found.started(), wanted.by_devices(found)
        for name in sorted((started | devices.keys()) - listed):
            beside = f"one beside it, {wanted.said(devices[name])}" if name in devices else "one beside it"
            yield _finding(UNITS, Severity.MEDIUM, tree.subject(name), "a unit of the list", beside)
        for name, rules in sorted(wanted.by_devices_of_users(found).items()):
            beside = f"one of users, {wanted.said(rules)}"
            yield _finding(UNITS, Severity.MEDIUM, tree.subject(name), "a unit of the list", beside)
        for name in sorted(listed - started - devices.keys()):
            yield _finding(UNITS, Severity.LOW, tree.subject(name), "the unit, as listed", "none that starts")


def listening_sockets(image: Image, policy: Policy) -> Iterator[Finding]:
    """No socket unit listens on a network or on vsock."""
    for tree in image.trees:
        found = units.of(tree)
        for name in found.present():
            if not name.endswith(".socket"):
                continue
            for setting in found.settings(name):
                if setting.name not in ("ListenStream", "ListenDatagram", "ListenSequentialPacket"):
                    continue
                if setting.value and not setting.value.startswith(("/", "%t/", "@", "kobject-uevent")):
                    yield _finding(
                        SOCKETS,
                        Severity.HIGH,
                        tree.subject(name),
                        "sockets of the file system alone",
                        setting.value,
                    )


def presets(image: Image, policy: Policy) -> Iterator[Finding]:
    """A first boot would enable nothing that the image does not start already."""
    for tree in image.trees:
        if tree.name.startswith(INITRD):
            continue
        rules = [
            line.split()[:2]
            for path in tree.drop_ins("systemd/system-preset", ".preset")
            for line in tree.text(path).splitlines()
            if line.split() and line.split()[0] in ("enable", "disable")
        ]
        found = units.of(tree)
        # Without what devices start: a preset would not wait for one.
        started = found.started()
        for name in found.present():
            # systemd.preset(5): the first rule that fits counts, and without one a unit is enabled.
            first = next((rule for rule in rules if fnmatchcase(name, rule[-1])), None)
            if first is not None and first[0] == "disable":
                continue
            listed = name in _NEVER
            if not listed and (_has_machine_id(tree) or name in started or not _installable(found, name)):
                continue
            yield _finding(
                PRESETS,
                Severity.MEDIUM if listed else Severity.LOW,
                tree.subject(name),
                "disabled by a preset",
                "enabled" if first is None else " ".join(first),
            )


def _installable(found: Units, name: str) -> bool:
    return any(setting.section == "Install" for setting in found.settings(name))


def _has_machine_id(tree: Tree) -> bool:
    """Whether a boot is never the first: machine-id(5), *First Boot Semantics*."""
    return _MACHINE_ID.fullmatch(tree.text("/etc/machine-id").strip()) is not None


def _named(image: Image, rule: str, names: tuple[str, ...], opens: str) -> Iterator[Finding]:
    for tree in image.trees:
        for path in sorted(path for name in names for path in tree.by_name.get(name, ())):
            if _is_program(tree, path):
                severity = Severity.HIGH if tree.name == ROOT or rule == GPT_AUTO else Severity.MEDIUM
                yield _finding(rule, severity, tree.subject(path), "no such program", opens)


def _is_program(tree: Tree, path: str) -> bool:
    node = tree.node(path)
    return node is not None and node.is_program
