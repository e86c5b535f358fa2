# SPDX-License-Identifier: Apache-2.0
"""Images in memory: one that keeps every rule, and the same with something put in, taken out or altered."""

import dataclasses
import stat
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from uuid import UUID

import yaml

from mantlet.audit.checks import kernel_configuration
from mantlet.audit.finding import Finding, Policy
from mantlet.audit.image import Approval, Image, Kernel, Signature, VerityVolume
from mantlet.audit.tree import INITRD, ROOT, Node, Tree
from mantlet.predict.gpt import Partition
from mantlet_measure.pcr import ENFORCED
from tests.unit.audit import signed

HASH = "5a" * 32
SYSTEM = "/usr/lib/systemd/system"
SIGNED_MODULE = signed.module(b"\x7fELF module ")
UKI = "/EFI/BOOT/BOOTX64.EFI"
PARAMETERS = Path(__file__).parents[3] / "image" / "parameters.yaml"
SYSCTLS = """
kernel.kptr_restrict = 2
kernel.modules_disabled = 1
kernel.perf_event_paranoid = 3
kernel.printk = 0 0 0 0
fs.suid_dumpable = 0
fs.protected_symlinks = 1
fs.protected_hardlinks = 1
fs.protected_fifos = 2
fs.protected_regular = 2
vm.unprivileged_userfaultfd = 0
dev.tty.ldisc_autoload = 0
user.max_user_namespaces = 0
net.ipv4.conf.all.accept_redirects = 0
net.ipv4.conf.all.send_redirects = 0
net.ipv4.conf.all.accept_source_route = 0
"""
MANAGER = """
[Manager]
CrashAction=poweroff
CrashChangeVT=no
CrashShell=no
CtrlAltDelBurstAction=none
DefaultLimitCORE=0
DumpCore=no
NoNewPrivileges=yes
ShowStatus=no
SystemCallArchitectures=native
"""
AGENT = """
[Unit]
Requires=watch.service
After=watch.service
[Service]
ExecStart=/usr/bin/python3 -IBm agent
"""
WATCH = """
[Unit]
FailureAction=poweroff-force
SuccessAction=poweroff-force
[Service]
ExecStart=/usr/bin/agent watch
WatchdogSec=60
"""
CONFIGURATION = "".join(f"CONFIG_{name}=y\n" for name in kernel_configuration.ON)


def file(content: str | bytes = "", mode: int = 0o644) -> Node:
    """A regular file."""
    data = content.encode() if isinstance(content, str) else content
    return Node(mode=stat.S_IFREG | mode, size=len(data), content=lambda limit: data[:limit])


def program(content: bytes = b"\x7fELF", mode: int = 0o755) -> Node:
    """A file that can be executed."""
    return file(content, mode)


def link(target: str) -> Node:
    """A symbolic link."""
    return Node(mode=stat.S_IFLNK | 0o777, target=target)


def folder() -> Node:
    """A directory."""
    return Node(mode=stat.S_IFDIR | 0o755)


ROOT_FILES: Mapping[str, Node] = {
    "/bin": link("usr/bin"),
    "/etc": folder(),
    "/etc/group": file("root:x:0:\nusers:x:100:agent\n"),
    "/etc/gshadow": file("root:*::\nusers:!*::\n"),
    "/etc/machine-id": file("5a" * 16),
    "/etc/nsswitch.conf": file("passwd: files\ngroup: files\nhosts: files dns\n"),
    "/etc/passwd": file("root:*:0:0:root:/root:/bin/bash\nagent:x:931:931::/:/usr/sbin/nologin\n"),
    "/etc/shadow": file("agent:!*:20781::::::\n"),
    "/usr/bin/agent": program(),
    "/usr/sbin/nologin": program(),
    "/usr/lib/sysctl.d/50.conf": file(SYSCTLS),
    "/usr/lib/systemd/system.conf.d/50.conf": file(MANAGER),
    f"{SYSTEM}/agent.service": file(AGENT),
    f"{SYSTEM}/agent.socket": file("[Socket]\nListenStream=/run/agent.sock\n"),
    f"{SYSTEM}/default.target": link("multi-user.target"),
    f"{SYSTEM}/emergency.target": link("poweroff.target"),
    f"{SYSTEM}/multi-user.target": file("[Unit]\nRequires=basic.target\n"),
    f"{SYSTEM}/multi-user.target.wants/agent.service": link("../agent.service"),
    f"{SYSTEM}/multi-user.target.wants/watch.service": link("../watch.service"),
    f"{SYSTEM}/poweroff.target": file("[Unit]\n"),
    f"{SYSTEM}/rescue.target": link("poweroff.target"),
    f"{SYSTEM}/watch.service": file(WATCH),
    "/usr/lib/udev/rules.d/50.rules": file('ACTION=="add", RUN+="/usr/bin/agent $name"\n'),
    "/usr/lib/modules/7/kernel/erofs.ko": file(SIGNED_MODULE),
}
IPE = "/usr/lib/ipe/sample.p7b"
EXECUTION = """policy_name=sample policy_version=1.0.0
DEFAULT action=DENY
op=EXECUTE boot_verified=TRUE action=ALLOW
op=EXECUTE dmverity_signature=TRUE action=ALLOW
"""
INITRD_FILES: Mapping[str, Node] = {
    IPE: file(signed.message(EXECUTION.encode())),
    f"{SYSTEM}/emergency.target": link("poweroff.target"),
    f"{SYSTEM}/initrd.target": file("[Unit]\n"),
    f"{SYSTEM}/poweroff.target": file("[Unit]\n"),
    "/usr/lib/systemd/system-generators/systemd-veritysetup-generator": program(),
}
UNITS = {
    ROOT: frozenset({"agent.service", "multi-user.target", "watch.service"}),
    INITRD: frozenset({"initrd.target"}),
}
POLICY = Policy(image="sample", units=UNITS, fuse="watch.service")


def command_line() -> str:
    """The command line that the recipe of our image gives, under HASH, and what a machine of metal needs."""
    words = yaml.safe_load(PARAMETERS.read_text("utf-8"))["kernel_command_line"]
    return " ".join([f"roothash={HASH}", *words, "iommu=force"])


def partition(number: int, kind: str, name: str = "part") -> Partition:
    """A partition of a type."""
    return Partition(
        number=number, type=UUID(kind), unique=UUID(int=number), name=name, offset=number << 20, size=1 << 20
    )


def kernel(**changes: object) -> Kernel:
    """The UKI of the image that keeps every rule, with changes."""
    kept = Kernel(
        path=UKI,
        cmdline=command_line(),
        sections=(".text", ".sdmagic", ".osrel", ".cmdline", ".uname", ".linux", ".initrd"),
        signature=Signature.SOUND,
        signers=(signed.certificate(),),
        release="7",
        configuration=CONFIGURATION,
        trusted=(signed.certificate(),),
    )
    return dataclasses.replace(kept, **changes)  # type: ignore[arg-type]  # any member


def volume(**changes: object) -> VerityVolume:
    """The root's verified volume, with changes."""
    kept = VerityVolume(of="root", computed=HASH, signed=HASH, signature=Signature.SOUND, signer="CN=audit")
    return dataclasses.replace(kept, **changes)  # type: ignore[arg-type]  # any member


def approval(**changes: object) -> Approval:
    """The approval of a boot of the image, with changes."""
    kept = Approval(name="approval 1", registers=ENFORCED, epoch=1, bound=1)
    return dataclasses.replace(kept, **changes)  # type: ignore[arg-type]  # any member


def image(
    root: Mapping[str, Node | None] | None = None,
    initrd: Mapping[str, Node | None] | None = None,
    **changes: object,
) -> Image:
    """The image that keeps every rule; files put in, or taken out (None), and members replaced."""
    kept = Image(
        id="sample",
        partitions=(
            partition(1, "4f68bce3-e8cd-4db1-96e7-fbcaf984b709"),
            partition(2, "2c7357ed-ebd2-46d9-aec1-23d437ec2bf5"),
            partition(3, "41092b05-9fc8-4523-994f-2def0408b176"),
            partition(4, "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"),
        ),
        esp={UKI: 4096, "/loader/boot-secret-mixin": 1},
        pe_files=frozenset({UKI}),
        kernels=(kernel(),),
        volumes=(volume(),),
        trees=(tree(ROOT, ROOT_FILES, root), tree(INITRD, INITRD_FILES, initrd)),
        exposures={"agent.service": 3.1},
        enforced={"sample": ENFORCED},
        approvals=(approval(),),
        recipe={
            "mkosi.conf": "# Autologin=yes\n[Content]\nSsh=never\nBootloader=uki\nRootPassword=\n",
            "mkosi.profiles/lean/mkosi.conf": "[Validation]\nVerity=signed\nSecureBoot=yes\n",
        },
    )
    return dataclasses.replace(kept, **changes)  # type: ignore[arg-type]  # any member


def tree(name: str, kept: Mapping[str, Node], changes: Mapping[str, Node | None] | None) -> Tree:
    """A tree of the files that are kept, with changes, and the directories that they lie in."""
    merged = {path: node for path, node in {**kept, **(changes or {})}.items() if node is not None}
    above = {str(parent): folder() for path in merged for parent in PurePosixPath(path).parents}
    del above["/"]
    return Tree(name=name, nodes={**above, **merged})


def subjects(findings: tuple[Finding, ...]) -> list[str]:
    """What findings are about."""
    return [finding.subject for finding in findings]
