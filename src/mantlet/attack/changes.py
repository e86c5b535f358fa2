# SPDX-License-Identifier: Apache-2.0
"""What an attack does to a copy of a machine: data alone, a type for each kind of hand that is laid on it.

A change is made before power-on, or it is a device that is there from power-on. What is tried while the
machine runs is a probe, which an attack only names. Both are carried out by the edge.
"""

from dataclasses import dataclass, field
from enum import StrEnum

# In a QEMU word: the folder of the boot, where files and sockets of the attack are.
FOLDER = "{folder}"
# Of the card that has a driver in its ROM.
ROM_MAC = "52:54:00:52:4f:4d"
# In the text of a variable: the id of the image that is attacked, as its os-release has it.
IMAGE = "{image}"
# systemd's EFI vendor GUIDs (systemd, efivars-fundamental.h): of the loader, and of systemd itself.
LOADER_GUID = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
SYSTEMD_GUID = "8cf2644b-4b0b-428f-9387-6d876050dc67"


@dataclass(frozen=True, slots=True)
class Qemu:
    """Further words for QEMU; `{folder}` in one stands for the boot's folder."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FwCfg:
    """A file that the host gives to firmware and guest by QEMU's fw_cfg."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Smbios:
    """A string of SMBIOS type 11."""

    text: str


@dataclass(frozen=True, slots=True)
class EspFile:
    """A file that is put on the ESP."""

    path: str
    content: bytes


@dataclass(frozen=True, slots=True)
class EspAddon:
    """An addon for the UKI on the ESP, with a command line; signed with the release's key or not."""

    command_line: str
    signed: bool


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable in the firmware's store: vendor's GUID, content, non-volatile and open to the guest."""

    name: str
    guid: str
    content: bytes


class Store(StrEnum):
    """The firmware's store of variables as a whole."""

    # Firmware as it comes, with no keys: Secure Boot is off.
    SECURE_BOOT_OFF = "secure-boot-off"
    # Our keys, but every other variable lost.
    FRESH = "fresh"


class Damage(StrEnum):
    """Harm to the disk of the image."""

    KERNEL = "kernel"
    CONSOLE = "console"
    FIRST_PROGRAM = "first-program"
    HASH_TREE = "hash-tree"
    SIGNATURE = "signature"
    # The partitions of the root are not in the tables any more; the ESP is.
    PARTITION_TABLE = "partition-table"
    # None at power-on: a disk of its own, which a probe takes away.
    LATER = "later"
    # None by us: firmware and guest may write to it.
    WRITABLE = "writable"


class Weights(StrEnum):
    """What becomes of the disk of the weights."""

    ABSENT = "absent"
    HALF = "half"
    FLIPPED = "flipped"
    OTHER_MODEL = "other-model"


class Deployment(StrEnum):
    """What becomes of the deployment volume."""

    FLIPPED = "flipped"
    OTHER_SIGNER = "other-signer"
    NO_APPROVALS = "no-approvals"
    FOREIGN_APPROVALS = "foreign-approvals"


class Tpm(StrEnum):
    """What becomes of the TPM."""

    ABSENT = "absent"
    OTHER = "other"
    CLEARED = "cleared"
    SHA1_ONLY = "sha1-only"
    EPOCH_RAISED = "epoch-raised"
    COUNTER_DELETED = "counter-deleted"
    COUNTER_CREATED_AGAIN = "counter-created-again"


@dataclass(frozen=True, slots=True)
class ForeignUki:
    """Another UKI in the place of ours: our kernel and initrd, another command line, no signature."""

    command_line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Vsock:
    """A socket device between host and guest, under a number."""

    cid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A folder of the host, with a script in it, under a tag."""

    tag: str


@dataclass(frozen=True, slots=True)
class HostileModel:
    """A new machine, for which an owner packs, signs and seals a model made to harm; lie: its name."""

    lie: str


class Replay(StrEnum):
    """No machine at all: who owns the TPM extends what a boot extended, and asks for the key."""

    WHOLE = "whole"
    # What software can reach after a foreign boot: 4, 7 and 9 hold something else.
    REACHABLE = "reachable"
    # The boot as it stands when the initrd is left.
    EARLY = "early"
    # The boot with the cap.
    CAPPED = "capped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A further disk; first: before the image's own in the order of PCI."""

    name: str
    kind: "DiskKind"
    first: bool = False


HIBERNATED_UUID = "6f1f0f5e-2f0a-4c52-9d6e-0c5f6b3d7a99"
"""Of the swap space that says that it holds an image of memory."""


class DiskKind(StrEnum):
    """Disks that somebody brings."""

    SAME_IDENTIFIERS = "same-identifiers"
    DISCOVERABLE = "discoverable"
    ENCRYPTED = "encrypted"
    CLOUD_SEED = "cloud-seed"
    FILE_SYSTEMS = "file-systems"
    HIBERNATED = "hibernated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell:
    """A shell for UEFI instead of the UKI, and a script that it runs; it takes Store.SECURE_BOOT_OFF.

    script: lines; files: further files on the ESP.
    """

    script: tuple[str, ...]
    files: tuple[EspFile, ...] = field(default=())


Change = (
    Qemu
    | FwCfg
    | Smbios
    | EspFile
    | EspAddon
    | Variable
    | Store
    | Damage
    | Weights
    | Deployment
    | Tpm
    | Disk
    | ForeignUki
    | HostileModel
    | Replay
    | Shell
    | Vsock
    | Share
)
