# SPDX-License-Identifier: Apache-2.0
"""The dm-verity volumes of a disk: root hashes computed again over the data, and what their signatures name.

Follows cryptsetup's superblock of a hash partition (docs/on-disk format of verity, version 1) and systemd's
JSON in a signature partition (UAPI.3). The hashing is that of `mantlet.weights.verity`.
"""

import base64
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from cryptography import x509

from mantlet.audit import signed_data
from mantlet.audit.checks.volumes import ROOT_TYPES, SIGNATURE_TYPES, VERITY_TYPES
from mantlet.audit.image import Signature, VerityVolume
from mantlet.audit.signed_data import Verdict
from mantlet.predict.gpt import Partition, Table
from mantlet.weights import verity
from mantlet_measure.errors import UnavailableError, shown

_MAGIC = b"verity\0\0"
# magic, version, hash type, UUID, algorithm, data block size, hash block size, data blocks, salt size, salt
_SUPERBLOCK = struct.Struct("<8sII16s32sIIQH6x256s")
_PART_BLOCKS = 64 * verity.FANOUT
_SIGNATURE_LIMIT = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class _Superblock:
    data_blocks: int
    salt: bytes


def volumes(disk: memoryview, table: Table, signers: Sequence[x509.Certificate]) -> tuple[VerityVolume, ...]:
    """Describe root and usr of a disk. signers: of the UKIs; signatures of others are foreign.

    UnavailableError on a hash tree that is not computed here.
    """
    found = []
    for data in table.partitions:
        of = ROOT_TYPES.get(str(data.type))
        if of is None:
            continue
        tree = _first(table, VERITY_TYPES, of)
        signature = _first(table, SIGNATURE_TYPES, of)
        signed, verdict = "", Verdict(signature=Signature.NONE)
        if signature is not None:
            signed, verdict = _signed(_slice(disk, signature), signers)
        found.append(
            VerityVolume(
                of=of,
                computed="" if tree is None else _computed(_slice(disk, data), _slice(disk, tree)),
                signed=signed,
                signature=verdict.signature,
                signer=verdict.signer,
            )
        )
    return tuple(found)


def root_hash(data: memoryview, superblock: bytes) -> str:
    """Compute the root hash over `data` with the salt of a hash partition's superblock, in hexadecimal."""
    described = _decode(superblock)
    if described.data_blocks * verity.BLOCK > len(data):
        _refuse(f"at most {len(data) // verity.BLOCK} blocks", str(described.data_blocks))
    below: memoryview = data[: described.data_blocks * verity.BLOCK]
    while True:
        level = bytearray()
        # A part is a multiple of what fits a hash block, so that parts of a level can be hashed apart.
        for start in range(0, len(below), _PART_BLOCKS * verity.BLOCK):
            part = bytes(below[start : start + _PART_BLOCKS * verity.BLOCK])
            if len(below) == verity.BLOCK:
                return verity.digests(part, salt=described.salt).hex()
            level += verity.hash_blocks(part, salt=described.salt)
        below = memoryview(level)


def _decode(superblock: bytes) -> _Superblock:
    if len(superblock) < _SUPERBLOCK.size:
        _refuse(f"a superblock of {_SUPERBLOCK.size} bytes", f"{len(superblock)} bytes")
    magic, version, kind, _, algorithm, data_size, hash_size, blocks, salt_size, salt = _SUPERBLOCK.unpack(
        superblock[: _SUPERBLOCK.size]
    )
    form = (magic, version, kind, algorithm.rstrip(b"\0"), data_size, hash_size)
    if form != (_MAGIC, 1, 1, b"sha256", verity.BLOCK, verity.BLOCK) or salt_size > len(salt) or not blocks:
        _refuse(f"format 1, sha256, blocks of {verity.BLOCK} bytes", shown(form))
    return _Superblock(data_blocks=blocks, salt=salt[:salt_size])


def _computed(data: memoryview, tree: memoryview) -> str:
    return root_hash(data, bytes(tree[: _SUPERBLOCK.size]))


def _signed(partition: memoryview, signers: Sequence[x509.Certificate]) -> tuple[str, Verdict]:
    """Return the root hash that a signature partition names, and what its signature is worth.

    A damaged one names none. systemd, src/repart/repart.c: the message is over the hash in hexadecimal.
    """
    none = "", Verdict(signature=Signature.NONE)
    text = bytes(partition[:_SIGNATURE_LIMIT]).split(b"\0", 1)[0]
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return none
    named, message = (value.get("rootHash"), value.get("signature")) if isinstance(value, dict) else ("", "")
    if not isinstance(named, str) or not isinstance(message, str) or not message:
        return none
    try:
        blob = base64.b64decode(message, validate=True)
    except ValueError:
        return named.lower(), Verdict(signature=Signature.BROKEN)
    return named.lower(), signed_data.judge(blob, named.encode(), signers, what="signature of the root hash")


def _first(table: Table, types: Mapping[str, str], of: str) -> Partition | None:
    return next((item for item in table.partitions if types.get(str(item.type)) == of), None)


def _slice(disk: memoryview, partition: Partition) -> memoryview:
    return disk[partition.offset : partition.offset + partition.size]


def _refuse(expected: str, found: str) -> NoReturn:
    raise UnavailableError(
        f"dm-verity: expected {expected}, found {found}",
        hint="make the hash tree with the defaults of veritysetup, which repart has too",
    )
