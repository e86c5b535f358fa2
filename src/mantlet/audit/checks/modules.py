# SPDX-License-Identifier: Apache-2.0
"""Kernel modules: each is signed, and none brings in what somebody outside can drive.

Follows Linux, Documentation/admin-guide/module-signing.rst: a signed module ends in a fixed string. Whose
signature it is, the kernel says when it loads it. What is built into the kernel is not looked at.
"""

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from mantlet.audit.finding import Finding, Policy, Severity
from mantlet.audit.image import Image
from mantlet.audit.tree import Node
from mantlet.predict.compressed import Stream
from mantlet_measure.errors import DecodeError

SIGNED, OPENING = "module-signatures", "opening-modules"
_MODULE = re.compile(r"/(?P<name>[^/]+)\.ko(?P<packed>\.(xz|zst|gz))?$")
_MARK = b"~Module signature appended~\n"
_LIMIT = 256 << 20
_OPENING: Mapping[str, tuple[Severity, str]] = MappingProxyType(
    {
        "qemu_fw_cfg": (Severity.HIGH, "brings credentials from the hypervisor, unmeasured"),
        "virtiofs": (Severity.HIGH, "mounts folders of the hypervisor"),
        "9p": (Severity.HIGH, "mounts folders of the hypervisor"),
        "vboxsf": (Severity.HIGH, "mounts folders of the hypervisor"),
        "vboxguest": (Severity.HIGH, "talks to the hypervisor"),
        "vsock": (Severity.MEDIUM, "connects programs to the hypervisor, past the network"),
        "vmw_vsock_virtio_transport": (Severity.HIGH, "connects programs to the hypervisor"),
        "vmw_vsock_vmci_transport": (Severity.HIGH, "connects programs to the hypervisor"),
        "hv_sock": (Severity.HIGH, "connects programs to the hypervisor"),
        "hv_utils": (Severity.MEDIUM, "lets Hyper-V's tools act in the guest"),
        "vmw_vmci": (Severity.MEDIUM, "talks to the hypervisor"),
        "virtio_console": (Severity.MEDIUM, "brings consoles and agents' ports that a host adds"),
        "usbhid": (Severity.MEDIUM, "takes keyboards"),
        "hid_generic": (Severity.MEDIUM, "takes keyboards"),
        "atkbd": (Severity.MEDIUM, "takes keyboards"),
        "efi_pstore": (Severity.HIGH, "writes the kernel's log into EFI variables when it panics"),
        "ramoops": (Severity.HIGH, "keeps the kernel's log in memory"),
        "netconsole": (Severity.HIGH, "sends the kernel's log out"),
        "kgdboc": (Severity.HIGH, "is a debugger on a console"),
        "msr": (Severity.MEDIUM, "opens the processor's registers"),
        "firewire_ohci": (Severity.HIGH, "lets devices read memory"),
        "thunderbolt": (Severity.HIGH, "lets devices read memory"),
        "nvmet_tcp": (Severity.HIGH, "exports disks"),
        "nbd": (Severity.MEDIUM, "takes disks from the network"),
        "iscsi_tcp": (Severity.MEDIUM, "takes disks from the network"),
        "nvme_tcp": (Severity.MEDIUM, "takes disks from the network"),
        "nfs": (Severity.MEDIUM, "takes files from the network"),
        "cifs": (Severity.MEDIUM, "takes files from the network"),
        "fuse": (Severity.MEDIUM, "lets a program be a file system"),
        "binfmt_misc": (Severity.MEDIUM, "runs files by interpreters that root names"),
        "acpi_configfs": (Severity.HIGH, "loads ACPI tables, which the kernel runs"),
        "joydev": (Severity.LOW, "takes input devices"),
    }
)


def module_signatures(image: Image, policy: Policy) -> Iterator[Finding]:
    """Each kernel module is signed."""
    for tree in image.trees:
        for path, node, match in _modules(tree.nodes):
            if (problem := _unsigned(node, packed=match["packed"] is not None)) is not None:
                yield Finding(
                    rule=SIGNED,
                    severity=Severity.HIGH,
                    subject=tree.subject(path),
                    expected="a signed module",
                    found=problem,
                    hint="sign the module with a key that the kernel has, or leave it out",
                )


def opening_modules(image: Image, policy: Policy) -> Iterator[Finding]:
    """No module brings in consoles, keyboards, shared folders, debuggers or credentials."""
    for tree in image.trees:
        for path, _, match in _modules(tree.nodes):
            opens = _OPENING.get(match["name"].replace("-", "_"))
            if opens is not None:
                yield Finding(
                    rule=OPENING,
                    severity=opens[0],
                    subject=tree.subject(path),
                    expected="no such module",
                    found=f"one that {opens[1]}",
                    hint="name the modules that the image needs, and leave out the others",
                )


def _modules(nodes: Mapping[str, Node]) -> Iterator[tuple[str, Node, re.Match[str]]]:
    for path, node in sorted(nodes.items()):
        if node.is_file and (match := _MODULE.search(path)) is not None:
            yield path, node, match


def _unsigned(node: Node, *, packed: bool) -> str | None:
    """Say why a module is not signed; None when it is."""
    content = node.content(_LIMIT)
    if not packed:
        return None if content.endswith(_MARK) else "none"
    end, size = b"", 0
    try:
        for piece in Stream(memoryview(content), 0, "module"):
            end = (end + piece)[-len(_MARK) :]
            size += len(piece)
            if size > _LIMIT:
                return f"more than {_LIMIT} bytes unpacked"
    except DecodeError as error:
        return error.message
    return None if end == _MARK else "none"
