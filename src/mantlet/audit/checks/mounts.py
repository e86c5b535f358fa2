# SPDX-License-Identifier: Apache-2.0
"""What a system mounts by its own words: mount and swap units, and /etc/fstab.

Follows systemd.mount(5), systemd.swap(5) and fstab(5). What a generator would mount is a finding of its own
(`mantlet.audit.checks.started`), and so are partitions that are mounted by their type (`volumes`). A mapped
device counts as verified here: whether it is, say the root hash and the command line.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from mantlet.audit import units
from mantlet.audit.finding import Finding, Policy, Remedy, Severity
from mantlet.audit.image import Image
from mantlet.audit.tree import Tree

RULE = "mounts"
_TABLE = "/etc/fstab"
_SWAP = "swap"
# Types whose files are somebody else's while the system reads them: the host's, or of the network.
_SHARED = frozenset(
    {"9p", "afs", "ceph", "cifs", "coda", "davfs", "gfs2", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4"}
    | {"ocfs2", "orangefs", "prl_fs", "smb3", "smbfs", "vboxsf", "virtiofs", "vmhgfs"}
)
_PROGRAM = re.compile(r"fuse(blk)?(\.|$)")
_MEMORY = re.compile(r"/dev/z?ram\d")
_DISK = re.compile(r"/dev/(?!mapper/|dm-\d|shm(/|$))|(PART)?(LABEL|UUID)=|ID=")
_finding = Remedy(
    "remove the unit or the line; read what comes from outside as a file that is verified before it is parsed"
).finding


class _Mount(NamedTuple):
    """What is mounted, as the file says it; subject: the unit, or the table and the place."""

    subject: str
    source: str
    type: str


def mounts(image: Image, policy: Policy) -> Iterator[Finding]:
    """No folder of the host, file system of the network, or disk that nothing verifies is mounted."""
    for tree in image.trees:
        for mount in (*_of_units(tree), *_of_table(tree)):
            severity, found = _brought(mount)
            if found:
                yield _finding(RULE, severity, mount.subject, "the kernel's own, tmpfs, or dm-verity", found)


def _of_units(tree: Tree) -> Iterator[_Mount]:
    found = units.of(tree)
    for name in found.present():
        kind = name.rpartition(".")[2]
        if kind in ("mount", _SWAP):
            # The last one counts.
            said = {setting.name: setting.value for setting in found.settings(name)}
            type_ = _SWAP if kind == _SWAP else said.get("Type", "")
            yield _Mount(tree.subject(name), said.get("What", ""), type_)


def _of_table(tree: Tree) -> Iterator[_Mount]:
    for line in tree.text(_TABLE).splitlines():
        words = line.split()
        if len(words) >= 3 and not words[0].startswith("#"):
            source, place, type_ = words[:3]
            yield _Mount(tree.subject(f"{_TABLE} {place}"), source, type_)


def _brought(mount: _Mount) -> tuple[Severity, str]:
    """Say how much a mount opens, and what it brings in; nothing for what is the machine's own."""
    if _MEMORY.match(mount.source):
        return Severity.LOW, ""
    if mount.type == _SWAP:
        return Severity.HIGH, f"swap on {mount.source}, to which memory is written"
    if mount.type in _SHARED:
        return Severity.HIGH, f"{mount.type}, whose files others change while they are read"
    if _PROGRAM.match(mount.type):
        return Severity.MEDIUM, f"{mount.type}, which is what a program says it is"
    if _DISK.match(mount.source):
        return Severity.MEDIUM, f"{mount.source}, which whoever gives the machine its disks writes"
    return Severity.LOW, ""
