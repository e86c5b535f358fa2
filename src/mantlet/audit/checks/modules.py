# SPDX-License-Identifier: Apache-2.0
"""Kernel modules: each is signed, and none brings in what somebody outside can drive.

Follows Linux, Documentation/admin-guide/module-signing.rst and include/linux/module_signature.h: a signed
module ends in a PKCS#7 message, its length and a fixed string. The message is verified under the certificates
that the image's own kernel carries. What is built into the kernel is not looked at.
"""

import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from cryptography import x509

from mantlet.audit import signed_data
from mantlet.audit.finding import Finding, Policy, Severity
from mantlet.audit.image import Image, Signature
from mantlet.audit.tree import Node, Tree
from mantlet.predict.compressed import Stream
from mantlet_measure.errors import DecodeError

SIGNED, OPENING = "module-signatures", "opening-modules"
_MODULE = re.compile(r"/(?P<name>[^/]+)\.ko(?P<packed>\.(xz|zst|gz))?$")
_MARK = b"~Module signature appended~\n"
# struct module_signature: three bytes that PKCS#7 leaves zero around the kind, padding, the length.
_TRAILER = struct.Struct(">2xB5xI")
_PKCS7 = 2
_LIMIT = 128 << 20
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
    """Each kernel module is signed by a key that the image's own kernel trusts."""
    trusted = tuple(dict.fromkeys(item for kernel in image.kernels for item in kernel.trusted))
    for tree in image.trees:
        for path, node, match in modules(tree):
            if (problem := _unsigned(node, trusted, packed=match["packed"] is not None)) is not None:
                yield Finding(
                    rule=SIGNED,
                    severity=Severity.HIGH,
                    subject=tree.subject(path),
                    expected="a module signed by a key in the kernel",
                    found=problem,
                    hint="sign the module with a key that the kernel has, or leave it out",
                )


def opening_modules(image: Image, policy: Policy) -> Iterator[Finding]:
    """No module brings in consoles, keyboards, shared folders, debuggers or credentials."""
    for tree in image.trees:
        for path, _, match in modules(tree):
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


def modules(tree: Tree) -> Iterator[tuple[str, Node, re.Match[str]]]:
    """Yield path, file and name of each module of a tree, by path."""
    for path, node in sorted(tree.nodes.items()):
        if node.is_file and (match := _MODULE.search(path)) is not None:
            yield path, node, match


def _unsigned(node: Node, trusted: Sequence[x509.Certificate], *, packed: bool) -> str | None:
    """Say why a module is not signed by one of these; None when it is."""
    content = node.content(_LIMIT)
    if packed:
        try:
            content = _unpacked(content)
        except DecodeError as error:
            return error.message
    if not content.endswith(_MARK):
        return "none"
    end = len(content) - len(_MARK) - _TRAILER.size
    kind, size = _TRAILER.unpack_from(content, end) if end > 0 else (0, 0)
    start = end - size
    if kind != _PKCS7 or start < 0:
        return "a signature of another form"
    verdict = signed_data.judge(content[start:end], content[:start], trusted, what="signature of a module")
    if verdict.signature is Signature.SOUND:
        return None
    return {
        Signature.UNKNOWN: "one by a key that is not in the kernel",
        Signature.FOREIGN: f"one by {verdict.signer}, which is not in the kernel",
    }.get(verdict.signature, "one that does not verify")


def _unpacked(content: bytes) -> bytes:
    unpacked = bytearray()
    for piece in Stream(memoryview(content), 0, "module"):
        unpacked += piece
        if len(unpacked) > _LIMIT:
            raise DecodeError("module", expected=f"at most {_LIMIT} bytes unpacked", found="more")
    return bytes(unpacked)
