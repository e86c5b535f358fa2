# SPDX-License-Identifier: Apache-2.0
"""What the kernel and PID 1 are told once the root is there: sysctls, core dumps, the manager's settings.

Follows sysctl.d(5), core(5) and systemd-system.conf(5). A value in sysctl.d is set after the one on the
command line and so it counts.
"""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType

from mantlet.audit.finding import Finding, Policy, Remedy, Severity
from mantlet.audit.image import Image
from mantlet.audit.tree import INITRD, Tree

SYSCTL, CORE_DUMPS, MANAGER = "sysctl", "core-dumps", "manager-settings"
_HIGH, _MEDIUM, _LOW = Severity.HIGH, Severity.MEDIUM, Severity.LOW
_CORE_PATTERN = "kernel.core_pattern"
# Accepted values, the first of them the one to set.
_SYSCTLS: Mapping[str, tuple[Severity, tuple[str, ...]]] = MappingProxyType(
    {
        "kernel.sysrq": (_HIGH, ("0",)),
        "kernel.kexec_load_disabled": (_HIGH, ("1",)),
        "kernel.yama.ptrace_scope": (_HIGH, ("3",)),
        "kernel.unprivileged_bpf_disabled": (_MEDIUM, ("1", "2")),
        "kernel.dmesg_restrict": (_LOW, ("1",)),
        "kernel.modules_disabled": (_MEDIUM, ("1",)),
        "kernel.kptr_restrict": (_LOW, ("2",)),
        "kernel.perf_event_paranoid": (_LOW, ("3", "4")),
        "kernel.io_uring_disabled": (_LOW, ("2",)),
        "kernel.printk": (_LOW, ("0 0 0 0",)),
        "fs.suid_dumpable": (_MEDIUM, ("0",)),
        "fs.protected_symlinks": (_LOW, ("1",)),
        "fs.protected_hardlinks": (_LOW, ("1",)),
        "fs.protected_fifos": (_LOW, ("2",)),
        "fs.protected_regular": (_LOW, ("2",)),
        "vm.unprivileged_userfaultfd": (_LOW, ("0",)),
        "dev.tty.ldisc_autoload": (_LOW, ("0",)),
        "user.max_user_namespaces": (_MEDIUM, ("0",)),
        "net.ipv4.conf.all.accept_redirects": (_LOW, ("0",)),
        "net.ipv4.conf.all.send_redirects": (_LOW, ("0",)),
        "net.ipv4.conf.all.accept_source_route": (_LOW, ("0",)),
    }
)
_PREFIX = "sysctl."
_MANAGER: Mapping[str, tuple[Severity, tuple[str, ...]]] = MappingProxyType(
    {
        "CrashShell": (_MEDIUM, ("no",)),
        "CrashChangeVT": (_LOW, ("no",)),
        "CrashAction": (_MEDIUM, ("poweroff",)),
        "DumpCore": (_MEDIUM, ("no",)),
        "CtrlAltDelBurstAction": (_LOW, ("none",)),
        "NoNewPrivileges": (_MEDIUM, ("yes",)),
        "ShowStatus": (_LOW, ("no",)),
        "SystemCallArchitectures": (_LOW, ("native",)),
    }
)
_NO_CORE = ("0", "0:0")
_finding = Remedy("set it in /usr/lib/sysctl.d or /usr/lib/systemd/system.conf.d of the image").finding


def sysctl(image: Image, policy: Policy) -> Iterator[Finding]:
    """The kernel's settings close what they can close."""
    said = _of_command_line(image)
    for tree in _roots(image):
        values = {**said, **of_folder(tree)}
        for name, (severity, accepted) in _SYSCTLS.items():
            found = _value(values, name)
            if found not in accepted:
                yield _finding(SYSCTL, severity, tree.subject(name), f"{name} = {accepted[0]}", found)


def core_dumps(image: Image, policy: Policy) -> Iterator[Finding]:
    """A program that fails leaves no copy of its memory."""
    said = _of_command_line(image)
    for tree in _roots(image):
        pattern = _value({**said, **of_folder(tree)}, _CORE_PATTERN)
        if pattern != "|/bin/false":
            yield _finding(CORE_DUMPS, _HIGH, tree.subject(_CORE_PATTERN), "|/bin/false", pattern)
        limit = _manager(tree).get("DefaultLimitCORE", "")
        if limit not in _NO_CORE:
            yield _finding(
                CORE_DUMPS,
                _MEDIUM,
                tree.subject("DefaultLimitCORE"),
                "DefaultLimitCORE=0",
                limit,
            )
        for path in tree.by_name.get("systemd-coredump", ()):
            yield _finding(CORE_DUMPS, _MEDIUM, tree.subject(path), "no collector of core dumps", "one")


def manager_settings(image: Image, policy: Policy) -> Iterator[Finding]:
    """PID 1 neither opens a shell nor prints, and gives no program new privileges."""
    for tree in _roots(image):
        values = _manager(tree)
        for name, (severity, accepted) in _MANAGER.items():
            found = values.get(name, "")
            if found.lower() not in accepted:
                yield _finding(MANAGER, severity, tree.subject(name), f"{name}={accepted[0]}", found)


def effective(image: Image) -> Mapping[str, str]:
    """Return the sysctls that a boot ends up with: the command line's, then those of the root's folders."""
    found = _of_command_line(image)
    for tree in _roots(image):
        found |= of_folder(tree)
    return found


def _roots(image: Image) -> Iterator[Tree]:
    return (tree for tree in image.trees if not tree.name.startswith(INITRD))


def _of_command_line(image: Image) -> dict[str, str]:
    found: dict[str, str] = {}
    for kernel in image.kernels:
        for word in kernel.words:
            name, _, value = word.partition("=")
            if name.startswith(_PREFIX):
                found[name.removeprefix(_PREFIX)] = value
    return found


def of_folder(tree: Tree) -> dict[str, str]:
    """Return the sysctls that the folders of a tree set, each with the value that wins."""
    found: dict[str, str] = {}
    for path in tree.drop_ins("sysctl.d", ".conf"):
        for line in tree.text(path).splitlines():
            name, equals, value = line.strip().lstrip("-").partition("=")
            if equals and not name.startswith(("#", ";")):
                found[name.strip().replace("/", ".")] = " ".join(value.split())
    return found


def _value(values: Mapping[str, str], name: str) -> str:
    """Return what a setting ends up as; the exact name counts more than a pattern."""
    if name in values:
        return values[name]
    return next((value for pattern, value in values.items() if fnmatchcase(name, pattern)), "")


def _manager(tree: Tree) -> dict[str, str]:
    paths = (
        "/usr/lib/systemd/system.conf",
        "/etc/systemd/system.conf",
        *tree.drop_ins("systemd/system.conf.d", ".conf"),
    )
    return {
        setting.name: setting.value
        for path in paths
        for setting in tree.settings(path)
        if setting.section == "Manager"
    }
