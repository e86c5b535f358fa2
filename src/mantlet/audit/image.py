# SPDX-License-Identifier: Apache-2.0
"""An image to audit: partitions, the files of the EFI system partition, UKIs, and the unpacked file systems.

Owns the types alone. They say what is there, in nobody's layout: an image without a part has none of it, and
what that means is for the checks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from cryptography import x509

from mantlet.audit.tree import Tree
from mantlet.predict.gpt import Partition


class Signature(StrEnum):
    """What a signature is worth.

    SOUND: under a certificate that is known; FOREIGN: under one that came along with the signature;
    UNKNOWN: by somebody whose certificate is not at hand; BROKEN: not one of what it stands beside.
    """

    NONE = "none"
    SOUND = "sound"
    FOREIGN = "foreign"
    UNKNOWN = "unknown"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """A UKI: where it lies, its built-in command line, the sections of its PE in order, who signed it.

    signature: SOUND, BROKEN or NONE. refused: why the Secure Boot keys beside the disk do not let it start,
    or empty. release: of the kernel inside. configuration: of that kernel, if it carries it. trusted: the
    certificates in it, under which it loads modules. signed_policies: the registers of those in .pcrsig.
    """

    path: str
    cmdline: str
    sections: tuple[str, ...]
    signature: Signature
    signers: tuple[x509.Certificate, ...] = ()
    refused: str = ""
    release: str = ""
    configuration: str = ""
    trusted: tuple[x509.Certificate, ...] = ()
    signed_policies: tuple[tuple[int, ...], ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the command line."""
        return tuple(self.cmdline.split())

    def values(self, name: str) -> tuple[str | None, ...]:
        """Return what each word `name` or `name=…` says, in order; None where it has no value."""
        found: list[str | None] = []
        for word in self.words:
            # Linux, kernel/params.c: dashes and underscores are the same in names.
            key, equals, value = word.partition("=")
            if key.replace("-", "_") == name.replace("-", "_"):
                found.append(value if equals else None)
        return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerityVolume:
    """A file system and the dm-verity partitions that fit it.

    of: `root` or `usr`. computed: the root hash over the data, hexadecimal, or empty without a hash
    partition. signed: the root hash that the signature partition names, or empty without one. signature: of
    that root hash, SOUND when a UKI's signer made it. signer: by name, or empty.
    """

    of: str
    computed: str
    signed: str
    signature: Signature
    signer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """An approval that was given beside the image, by name, and what its policy turned out to be.

    registers: those whose reference values it is over; None when it is over no values of this image. epoch:
    up to which the machine's counter may stand; None when the counter is not asked. bound: the smaller one of
    the epochs of image and model.
    """

    name: str
    registers: tuple[int, ...] | None
    epoch: int | None
    bound: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """Everything that the checks look at.

    id: IMAGE_ID, or empty. esp: files of the EFI system partition (and of XBOOTLDR), with their sizes.
    pe_files: those of them that are programs. enforced: the registers that release a key by platform, where
    a manifest says so. exposures: of the root's services, from 0 to 10; None where that could not be told.
    recipe: the files of the mkosi recipe that was given beside the image, by path, with the text of settings.
    approvals: those that were given beside it and let it open a key.
    """

    id: str
    partitions: tuple[Partition, ...]
    esp: Mapping[str, int]
    pe_files: frozenset[str]
    kernels: tuple[Kernel, ...]
    volumes: tuple[VerityVolume, ...]
    trees: tuple[Tree, ...]
    enforced: Mapping[str, tuple[int, ...]]
    exposures: Mapping[str, float | None]
    recipe: Mapping[str, str] = field(default_factory=dict)
    approvals: tuple[Approval, ...] = ()
