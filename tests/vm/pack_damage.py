# SPDX-License-Identifier: Apache-2.0
"""What whoever stores a pack does to its disk image: one change each, on a copy.

Some of them need more than the storage: the plaintext of the model, or the data key itself. They are here
because what verifies a pack must not depend on either staying secret.
"""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from mantlet.edge import owner
from mantlet.edge.attack import damage
from mantlet.weights import disk
from mantlet.weights import pack as cipher
from mantlet.weights.descriptor import Descriptor
from mantlet_measure.body import CHUNK_SIZE, TAG_SIZE
from mantlet_measure.deployment import BLOCK
from mantlet_measure.disk_key import disk_key
from tests.vm.rig import Site

# LUKS2, magic of the primary header; cryptsetup, lib/verity/verity.c: signature of the superblock.
LUKS_MAGIC = b"LUKS\xba\xbe\x00\x02"
# Of one file: far more than it takes.
_METADATA = 64 * BLOCK
VERITY_MAGIC = b"verity\0\0"


@dataclass(frozen=True, kw_only=True)
class Pack:
    """A site's pack: its descriptor, its data key, and an image that may be changed."""

    descriptor: Descriptor
    data_key: bytes
    image: Path

    @classmethod
    def of(cls, site: Site) -> "Pack":
        """Name the site's pack itself, under a machine that may be on."""
        descriptor = owner.read_descriptor(site.pack, owner_key=None)
        return cls(descriptor=descriptor, data_key=site.key.read_bytes(), image=site.weights)

    @classmethod
    def copy(cls, site: Site, folder: Path) -> "Pack":
        """Copy the image of a site's pack."""
        image = folder / "weights.raw"
        shutil.copyfile(site.weights, image)
        return replace(cls.of(site), image=image)

    @property
    def key(self) -> bytes:
        """The key of the disk cipher."""
        return bytes(disk_key(self.data_key, self.descriptor.model.root_hash))

    def flip(self, place: int) -> None:
        """Flip a bit of the partition's byte at `place`; from the end, if it is negative."""
        place %= self.descriptor.model.partition_size
        damage.flip(self.image, disk.PARTITION_OFFSET + place)

    def content(self) -> bytes:
        """The partition as it is stored."""
        start = disk.PARTITION_OFFSET
        return self.image.read_bytes()[start : start + self.descriptor.model.partition_size]

    def plaintext(self) -> bytes:
        """File system and hash tree."""
        return bytes(cipher.decrypt(self.key, self.content(), first=0))

    def store(self, content: bytes) -> None:
        """Put a content into the partition, and a partition table around it that fits."""
        root_hash, size = self.descriptor.model.root_hash, len(content)
        self.image.write_bytes(disk.head(root_hash, size) + content + disk.tail(root_hash, size))

    def place_of_model(self) -> int:
        """Where the GGUF starts in the partition: on a block, since it is stored in one run."""
        with self.image.open("rb") as file:
            file.seek(disk.PARTITION_OFFSET)
            start = bytes(cipher.decrypt(self.key, file.read(_METADATA), first=0))
        (place,) = [at for at in range(0, len(start), BLOCK) if start.startswith(b"GGUF", at)]
        return place


def grow(pack: Pack) -> None:
    """One block of zeros more, inside the partition."""
    pack.store(pack.content() + bytes(BLOCK))


def truncate(pack: Pack) -> None:
    """One block less, with a partition table that says so."""
    pack.store(pack.content()[:-BLOCK])


def store_plaintext(pack: Pack) -> None:
    """The true model under no cipher at all: every hash of it is right."""
    pack.store(pack.plaintext())


def give_it_a_null_cipher(pack: Pack) -> None:
    """A LUKS2 header that says `cipher_null`, and the plaintext behind it, as far as there is room."""
    metadata = b'{"segments":{"0":{"type":"crypt","offset":"16384","encryption":"cipher_null-ecb"}}}'
    header = (LUKS_MAGIC + (16384).to_bytes(8, "big") + metadata).ljust(16384, b"\0")
    plaintext = pack.plaintext()
    pack.store((header + plaintext)[: len(plaintext)])


def give_it_a_superblock(pack: Pack) -> None:
    """Another model under the right cipher, with a verity superblock where a reader might look for one."""
    model, plaintext = pack.descriptor.model, bytearray(pack.plaintext())
    place = pack.place_of_model()
    plaintext[place + BLOCK] ^= 1
    # version 1, type 1, a UUID, sha256, blocks of 4096 bytes, no salt
    superblock = VERITY_MAGIC + (1).to_bytes(4, "little") * 2 + bytes(16) + b"sha256".ljust(32, b"\0")
    superblock += (BLOCK).to_bytes(4, "little") * 2 + model.data_blocks.to_bytes(8, "little") + bytes(8 + 256)
    plaintext[model.hash_offset : model.hash_offset + len(superblock)] = superblock
    pack.store(bytes(cipher.encrypt(pack.key, bytes(plaintext), first=0)))


def swap_chunks(pack: Pack) -> None:
    """The first two chunks of a stream body, each in the place of the other."""
    size = CHUNK_SIZE + TAG_SIZE
    content = pack.content()
    assert len(content) > 2 * size
    pack.store(content[size : 2 * size] + content[:size] + content[2 * size :])
