# SPDX-License-Identifier: Apache-2.0
"""Programs that turn a foothold into a login: by their names, their bits, and their first line.

What a program is called proves nothing about what it does. These are the names under which distributions ship
shells, interpreters and agents; IPE, the units' sandboxes and the list of files are the other defences.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from mantlet.audit.finding import Finding, Policy, Remedy, Severity
from mantlet.audit.image import Image
from mantlet.audit.tree import Tree

SETUID, CAPABILITIES, WRITABLE, SCRIPTS = "setuid", "file-capabilities", "world-writable", "scripts"
_SET_ID, _OTHERS_WRITE = 0o6000, 0o002
_CAPABILITY = "security.capability"
_finding = Remedy("build the image without the file: its package, its bit, or the file itself").finding


class Group(NamedTuple):
    """Programs of one purpose."""

    severity: Severity
    title: str
    names: frozenset[str]


def _group(severity: Severity, title: str, names: str) -> Group:
    return Group(severity, title, frozenset(names.split()))


GROUPS: Mapping[str, Group] = MappingProxyType(
    {
        "shells": _group(
            Severity.HIGH,
            "There is no shell.",
            "ash bash busybox csh dash fish ksh ksh93 mksh rbash sash sh static-sh tcsh toybox yash zsh",
        ),
        "login-programs": _group(
            Severity.HIGH,
            "There is no program that logs somebody in or makes somebody another user.",
            "agetty chfn chsh doas fgetty getty login mgetty mingetty newgrp nsenter passwd pkexec run0 "
            "runuser sg su sudo sulogin systemd-sulogin-shell unshare userdbctl",
        ),
        "remote-access": _group(
            Severity.HIGH,
            "There is no server or agent by which somebody elsewhere can act.",
            "amazon-ssm-agent cloud-init cockpit-ws dropbear ec2-instance-connect gdbserver "
            "google_guest_agent google_oslogin_nss_cache hv_fcopy_daemon hv_fcopy_uio hv_kvp_daemon "
            "hv_vss_daemon ignition in.telnetd ncat netcat nc oracle-cloud-agent qemu-ga rshd socat sshd "
            "systemd-journal-gatewayd systemd-journal-remote systemd-machined systemd-nspawn "
            "systemd-socket-proxyd systemd-stdio-bridge "
            "systemd-storagetm systemd-sysinstall telnetd vmtoolsd waagent walinuxagent xe-daemon",
        ),
        "package-managers": _group(
            Severity.HIGH,
            "There is no program that installs others.",
            "apk apt apt-get aptitude bootctl dnf dnf5 dpkg dpkg-deb flatpak microdnf nix nix-env pacman pip "
            "pip3 pipx portablectl rpm rpm-ostree snap sysupdate systemd-sysupdate tdnf yum zypper",
        ),
        "debug-tools": _group(
            Severity.MEDIUM,
            "There is no debugger and no tracer.",
            "bpftrace bpftool coredumpctl crash cuda-gdb drgn gcore gdb kdump kexec lldb ltrace makedumpfile "
            "perf strace systemd-coredump tcpdump trace-cmd",
        ),
        "interpreters": _group(
            Severity.LOW,
            "There is no interpreter that the runtime does not need.",
            "awk gawk guile lua lua5.4 luajit m4 mawk node nodejs perl php ruby tclsh wish",
        ),
        "network-tools": _group(
            Severity.LOW,
            "There is no program that carries data away.",
            "curl ftp rsync scp sftp ssh tftp wget",
        ),
        "timed-programs": _group(
            Severity.MEDIUM,
            "Nothing runs programs at a time that a file names.",
            "anacron at atd cron crond fcron systemd-run",
        ),
    }
)

# Names of what runs a text that it is given, as shell patterns.
INTERPRETERS: tuple[str, ...] = (
    *sorted(GROUPS["interpreters"].names | GROUPS["shells"].names),
    "python[0-9]*",
    "java",
    "php*",
    "lua*",
)


def of_group(image: Image, rule: str) -> Iterator[Finding]:
    """Yield a finding for each program of a group; a link is another name for what it leads to."""
    group = GROUPS[rule]
    for tree in image.trees:
        for name, paths in tree.by_name.items():
            if name not in group.names:
                continue
            for path in paths:
                node = tree.node(path)
                if node is not None and node.is_program:
                    yield _finding(rule, group.severity, tree.subject(path), "no such program", name)


def setuid(image: Image, policy: Policy) -> Iterator[Finding]:
    """No file changes who runs it."""
    for tree in image.trees:
        for path, node in sorted(tree.nodes.items()):
            if node.is_file and node.mode & _SET_ID:
                kind = " and ".join(
                    word for bit, word in ((0o4000, "setuid"), (0o2000, "setgid")) if node.mode & bit
                )
                yield _finding(SETUID, Severity.HIGH, tree.subject(path), "neither setuid nor setgid", kind)


def file_capabilities(image: Image, policy: Policy) -> Iterator[Finding]:
    """No file gives capabilities to who runs it."""
    for tree in image.trees:
        if not tree.has_attributes:
            yield _finding(
                CAPABILITIES,
                Severity.LOW,
                tree.subject("/"),
                "extended attributes that can be read",
                "none read",
            )
        for path in capable(tree):
            value = tree.nodes[path].attributes[_CAPABILITY].hex()
            yield _finding(CAPABILITIES, Severity.HIGH, tree.subject(path), "no capabilities", value)


def capable(tree: Tree) -> Iterator[str]:
    """Yield the files with capabilities, by path."""
    yield from (path for path, node in sorted(tree.nodes.items()) if node.attributes.get(_CAPABILITY))


def world_writable(image: Image, policy: Policy) -> Iterator[Finding]:
    """No file can be written by everybody."""
    for tree in image.trees:
        for path, node in sorted(tree.nodes.items()):
            if node.is_file and node.mode & _OTHERS_WRITE:
                yield _finding(
                    WRITABLE,
                    Severity.MEDIUM,
                    tree.subject(path),
                    "not writable by others",
                    f"mode {node.mode & 0o7777:o}",
                )


def scripts(image: Image, policy: Policy) -> Iterator[Finding]:
    """No program is a script whose interpreter is in the image."""
    for tree in image.trees:
        for path in scripted(tree):
            interpreter = tree.node(found := _interpreter(tree, path))
            if interpreter is not None and interpreter.is_program:
                yield _finding(SCRIPTS, Severity.LOW, tree.subject(path), "no script", f"one for {found}")


def scripted(tree: Tree) -> Iterator[str]:
    """Yield the programs that name an interpreter, by path."""
    yield from (
        path for path, node in sorted(tree.nodes.items()) if node.is_program and node.content(2) == b"#!"
    )


def _interpreter(tree: Tree, path: str) -> str:
    words = tree.nodes[path].content(256)[2:].split(b"\n", 1)[0].decode("utf-8", "replace").split()
    return words[0] if words else "/"
