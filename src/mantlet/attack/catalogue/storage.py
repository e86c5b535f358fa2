# SPDX-License-Identifier: Apache-2.0
"""Disks and shares that somebody adds, and damage to those that belong to the machine."""

from mantlet.attack import signs
from mantlet.attack.changes import FOLDER, Change, Damage, Deployment, Disk, DiskKind, Qemu, Weights
from mantlet.attack.model import Attack, Control, Sign

GROUP = "storage"
_SHARE = (
    *("-fsdev", f"local,id=share,path={FOLDER}/share,security_model=none,readonly=on"),
    *("-device", "virtio-9p-pci,fsdev=share,mount_tag=share"),
    *("-fsdev", f"local,id=rootshare,path={FOLDER}/share,security_model=none,readonly=on"),
    *("-device", "virtio-9p-pci,fsdev=rootshare,mount_tag=root"),
    *("-trace", f"enable=v9fs_attach,file={FOLDER}/9p.trace"),
)


def _brought(
    name: str, title: str, *changes: Change, words: str = "a disk of somebody else is used"
) -> Attack:
    return Attack(
        id=name,
        name=name,
        title=title,
        changes=changes,
        probes=(name,),
        sign=signs.found(name, words=words),
        control=Control.WEAKENED_BUILD,
        group=GROUP,
        fast=True,
    )


def _fault(
    name: str, title: str, rule: str, *changes: Change, sign: Sign | None = None, probes: tuple[str, ...] = ()
) -> Attack:
    return Attack(
        id=name,
        name=rule,
        title=title,
        changes=changes,
        probes=probes,
        sign=sign or signs.any_of(signs.stays_on(), signs.serves()),
        control=Control.WEAKENED_BUILD,
        fast=name == "root-data-corrupted",
    )


ATTACKS: tuple[Attack, ...] = (
    _brought(
        "rogue-partitions",
        "Partitions of types that are found by themselves: home, var, srv, swap",
        Disk(name="discoverable", kind=DiskKind.DISCOVERABLE),
    ),
    _brought(
        "rogue-encrypted-disk",
        "An encrypted volume whose passphrase somebody else knows",
        Disk(name="encrypted", kind=DiskKind.ENCRYPTED),
    ),
    _brought(
        "hostile-file-systems",
        "A seed of cloud-init and file systems of many kinds",
        Disk(name="seed", kind=DiskKind.CLOUD_SEED),
        Disk(name="various", kind=DiskKind.FILE_SYSTEMS),
    ),
    _brought(
        "shared-folder",
        "Folders that the host shares by 9p",
        Qemu(_SHARE),
        words="a folder of the host is opened",
    ),
    Attack(
        id="rogue-root-disk",
        name="rogue-root-disk",
        title="Another root with the same identifiers, first in the order of PCI",
        changes=(Disk(name="same", kind=DiskKind.SAME_IDENTIFIERS, first=True),),
        sign=signs.stays_on(),
        control=Control.WEAKENED_BUILD,
    ),
    _fault(
        "root-data-corrupted",
        "A flipped bit in PID 1 on the root",
        "root-data-corrupted",
        Damage.FIRST_PROGRAM,
    ),
    _fault(
        "root-tree-corrupted",
        "A flipped bit in the root's hash tree",
        "root-data-corrupted",
        Damage.HASH_TREE,
    ),
    _fault(
        "root-signature-corrupted",
        "A flipped bit in the root hash's signature",
        "root-data-corrupted",
        Damage.SIGNATURE,
    ),
    _fault(
        "partition-table-wiped",
        "Partition tables that are gone",
        "root-data-corrupted",
        Damage.PARTITION_TABLE,
        sign=signs.any_of(signs.serves(), signs.boots()),
    ),
    _fault(
        "root-detached",
        "The root's disk taken away while it serves",
        "root-data-corrupted",
        probes=("root-detached",),
        sign=signs.any_of(signs.stays_on(), signs.spoke()),
    ),
    _fault("weights-truncated", "Half of the weights", "weights-substituted", Weights.HALF),
    _fault("weights-substituted", "Weights of another model", "weights-substituted", Weights.OTHER_MODEL),
    _fault("weights-absent", "No weights", "weights-substituted", Weights.ABSENT),
    _fault(
        "document-flipped",
        "A flipped bit in the deployment document",
        "weights-substituted",
        Deployment.FLIPPED,
    ),
    _fault(
        "document-of-another",
        "A deployment document that somebody else signed",
        "weights-substituted",
        Deployment.OTHER_SIGNER,
    ),
)
"""What is brought shares a boot; what is damaged has its own."""
