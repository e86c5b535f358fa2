# SPDX-License-Identifier: Apache-2.0
"""Open a weights pack's disk body: check it, rekey it, take its files out.

With the data key every block is verified up to the root hash before anything is done with it, file system
included; without it, the ciphertext is held against its digest. Which descriptor counts is the caller's
matter, and a stream body that of `mantlet.edge.stream`.
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mantlet.edge import output, pack_disk
from mantlet.edge.chunks import CHUNK, Chunk, cut, in_order, read_into
from mantlet.edge.pack_journal import Journal
from mantlet.weights import disk as layout
from mantlet.weights import pack
from mantlet.weights.descriptor import Descriptor
from mantlet.weights.disk import PARTITION_OFFSET
from mantlet.weights.pack import SECTOR
from mantlet.weights.verity import DamagedBlockError, Read, Tree, verified
from mantlet_measure.disk_key import disk_key, key_id
from mantlet_measure.errors import DecodeError, shown

_HINT = "fetch the pack again; check that the descriptor belongs to it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A disk image and what opens its partition: the 64-byte key, the tree that names the plaintext."""

    image: Path
    key: bytes
    tree: Tree

    def read(self, first: int, count: int) -> bytearray:
        """Read and decrypt blocks of the partition, not verified."""
        with self.image.open("rb") as file:
            sectors = bytearray(count * SECTOR)
            place = PARTITION_OFFSET + first * SECTOR
            read_into(memoryview(sectors), file.fileno(), place, what=str(self.image))
        return pack.decrypt(self.key, sectors, first=first)

    def verified(self, start: int, size: int) -> bytes:
        """Read bytes of the plaintext, whose blocks are verified. DamagedBlockError on one that is not."""
        first, end = start // SECTOR, -(-(start + size) // SECTOR)
        blocks = verified(self.read, self.tree, first=first, count=end - first)
        return bytes(memoryview(blocks)[start - first * SECTOR :][:size])

    def holds(self, plain: Read, start: int, size: int) -> bool:
        """Say whether what `plain` reads of these bytes of the file system, in whole blocks, is the pack's.

        Of the pack, only the tree is read.
        """

        def read(first: int, count: int) -> bytes | bytearray:
            return plain(first, count) if first < self.tree.data_blocks else self.read(first, count)

        first, end = start // SECTOR, -(-(start + size) // SECTOR)
        try:
            verified(read, self.tree, first=first, count=end - first)
        except DamagedBlockError as damaged:
            if damaged.block >= self.tree.data_blocks:
                raise
            return False
        return True


def body_of(image: Path, descriptor: Descriptor, data_key: bytes) -> Body:
    """Return the body of a pack. DecodeError for the key of another pack."""
    model = descriptor.model
    if (found := key_id(data_key)) != descriptor.key_id:
        raise DecodeError(
            f"data key of {model.id}",
            expected=f"the key with the id {descriptor.key_id.hex()}",
            found=found.hex(),
            hint="pass the key file that was made with this pack, or by its last rekeying",
        )
    tree = Tree(root_hash=model.root_hash, salt=model.salt, data_blocks=model.data_blocks)
    return Body(image=image, key=bytes(disk_key(data_key, model.root_hash)), tree=tree)


def check(image: Path, descriptor: Descriptor, *, data_key: bytes | None, executor: Executor) -> None:
    """Read all of a disk image and hold it against its descriptor; with a key, against the root hash too.

    Raises DecodeError that names the first byte or block that is not the pack's; without a key, a damaged
    ciphertext is named as a whole.
    """
    model = descriptor.model
    body = None if data_key is None else body_of(image, descriptor, data_key)
    check_frame(image, descriptor)
    digest, buffer = hashlib.sha256(), memoryview(bytearray(CHUNK))
    with image.open("rb") as file, output.progress("Checking", model.size) as advance, refusing(image):
        whole = cut(0, model.size, (), CHUNK)
        if body is None:
            chunks = whole
        else:
            chunks = (chunk for chunk, _ in in_order(executor, partial(_check_chunk, body), whole))
        for chunk in chunks:
            view = buffer[: chunk.size]
            read_into(view, file.fileno(), PARTITION_OFFSET + chunk.start, what=str(image))
            digest.update(view)
            advance(chunk.size)
    if digest.digest() != descriptor.ciphertext_sha256:
        raise DecodeError(
            f"ciphertext of {image}",
            expected=f"SHA-256 {descriptor.ciphertext_sha256.hex()}",
            found=digest.hexdigest(),
            hint=f"{_HINT}; with --key the damaged block is named",
        )


def check_frame(image: Path, descriptor: Descriptor) -> None:
    """Refuse an image of another size, or with other bytes before or behind the partition."""
    model = descriptor.model
    expected = layout.size_of(model.size)
    if (found := image.stat().st_size) != expected:
        raise DecodeError(
            f"image {image}", expected=f"{expected} bytes", found=f"{found}", offset=min(found, expected),
            hint=_HINT,
        )  # fmt: skip
    behind = PARTITION_OFFSET + model.size
    parts = (
        (0, layout.head(model.root_hash, model.size)),
        (behind, layout.tail(model.root_hash, model.size)),
    )
    with image.open("rb") as file:
        for start, wanted in parts:
            content = bytearray(len(wanted))
            read_into(memoryview(content), file.fileno(), start, what=str(image))
            if content == wanted:
                continue
            place = next(index for index in range(len(wanted)) if content[index] != wanted[index])
            raise DecodeError(
                f"image {image}",
                expected=f"the partition table of {model.id} ({wanted[place]:02x})",
                found=f"{content[place]:02x}",
                offset=start + place,
                hint=_HINT,
            )


def rekey(
    image: Path,
    descriptor: Descriptor,
    disk: Path,
    *,
    old: bytes,
    new: bytes,
    journal: Journal,
    executor: Executor,
) -> bytes:
    """Write the pack under another data key as the file `disk`; return the SHA-256 of its ciphertext.

    Each block is verified before it is encrypted again. What the journal has as done is there already.
    DecodeError on a block that is not what it should be.
    """
    model = descriptor.model
    body = body_of(image, descriptor, old)
    check_frame(image, descriptor)
    work = partial(_rekey_chunk, body, disk, bytes(disk_key(new, model.root_hash)))
    with refusing(image):
        return pack_disk.fill(
            disk,
            model,
            work,
            lambda done: cut(done, model.size - done, (), CHUNK),
            unit=CHUNK,
            journal=journal,
            executor=executor,
        )


@contextmanager
def refusing(image: Path) -> Iterator[None]:
    """Turn a damaged block, or an image that ends too early, into the refusal that names it."""
    try:
        yield
    except DamagedBlockError as damaged:
        raise DecodeError(
            f"image {image}: block {damaged.block} of the partition",
            expected=f"SHA-256 {damaged.expected} as the root hash has it",
            found=damaged.found,
            offset=PARTITION_OFFSET + damaged.block * SECTOR,
            hint=_HINT,
        ) from None
    except EOFError as short:
        raise DecodeError(
            f"image {image}", expected="a file of one size", found=shown(str(short)), hint=_HINT
        ) from None


def _check_chunk(body: Body, chunk: Chunk) -> None:
    body.verified(chunk.start, chunk.size)


def _rekey_chunk(body: Body, disk: Path, key: bytes, chunk: Chunk) -> None:
    plain = body.verified(chunk.start, chunk.size)
    with disk.open("r+b") as file:
        file.seek(PARTITION_OFFSET + chunk.start)
        file.write(pack.encrypt(key, plain, first=chunk.start // SECTOR))
