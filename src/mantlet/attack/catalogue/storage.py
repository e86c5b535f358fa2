# SPDX-License-Identifier: Apache-2.0
"""Disks and shares that somebody adds, and damage to those that belong to the machine."""

from mantlet.attack import signs
from mantlet.attack.catalogue.credentials import GROUP
from mantlet.attack.changes import Change, Damage, Deployment, Disk, DiskKind, Share, Weights
from mantlet.attack.model import Attack, Control, Sign


def _brought(
    name: str, title: str, *changes: Change, words: str = "a disk of somebody else is used"
) -> Attack:
    return Attack(
        id=name,
        name=name,
        title=title,
        changes=changes,
        probes=(name,),
        # The weakened build says so by itself when it has mounted a disk.
        sign=signs.any_of(signs.found(name, words=words), signs.said("is mounted", words="a port says so")),
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
    Attack(
        id="shared-folder",
        name="shared-folder",
        title="A folder that the host shares, with a script in it",
        changes=(Share(tag="root"),),
        probes=("shared-folder",),
        sign=signs.found("shared-folder", words="the script in the folder is run"),
        control=Control.WEAKENED_BUILD,
        group=GROUP,
    ),
    Attack(
        id="rogue-root-disk",
        name="rogue-root-disk",
        title="Another root with the same identifiers, first in the order of PCI",
        changes=(Disk(name="same", kind=DiskKind.SAME_IDENTIFIERS, first=True),),
        probes=("rogue-root-disk",),
        sign=signs.any_of(signs.stays_on(), signs.found("rogue-root-disk", words="its root is used")),
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
        "partitions-removed",
        "Partition tables without the root",
        "root-data-corrupted",
        Damage.PARTITION_TABLE,
    ),
    _fault(
        "root-detached",
        "The root's disk taken away while it serves",
        "root-data-corrupted",
        Damage.LATER,
        probes=("root-detached",),
        sign=signs.any_of(signs.stays_on(), signs.found("root-detached", words="a port answers")),
    ),
    _fault("weights-flipped", "A flipped bit in the weights", "weights-substituted", Weights.FLIPPED),
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
"""What is brought shares the boot of the credentials; what is damaged has its own."""
