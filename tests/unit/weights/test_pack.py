# SPDX-License-Identifier: Apache-2.0
"""The arithmetic and the cipher of a weights pack, against independent sources."""

import hashlib
from itertools import pairwise

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from mantlet.weights import pack


def xts_by_the_book(key: bytes, sectors: bytes, first: int) -> bytes:
    """IEEE 1619-2018, 5.3, out of AES-ECB and a multiplication by x, sector by sector and block by block."""
    data_cipher = Cipher(algorithms.AES(key[:32]), modes.ECB()).encryptor()
    tweak_cipher = Cipher(algorithms.AES(key[32:]), modes.ECB()).encryptor()
    out = bytearray()
    for start in range(0, len(sectors), 4096):
        number = first + start // 4096
        tweak = int.from_bytes(tweak_cipher.update(number.to_bytes(16, "little")), "little")
        for place in range(start, start + 4096, 16):
            mask = tweak.to_bytes(16, "little")
            whitened = bytes(a ^ b for a, b in zip(sectors[place : place + 16], mask, strict=True))
            out += bytes(a ^ b for a, b in zip(data_cipher.update(whitened), mask, strict=True))
            tweak = (tweak << 1) ^ (0x87 if tweak >> 127 else 0)
            tweak &= (1 << 128) - 1
    return bytes(out)


@given(st.binary(min_size=64, max_size=64).filter(lambda key: key[:32] != key[32:]), st.integers(0, 1 << 40))
def test_ciphertext_equals_xts_by_the_book(key: bytes, first: int) -> None:
    sectors = hashlib.shake_256(key).digest(2 * pack.SECTOR)
    assert pack.encrypt(key, sectors, first=first) == xts_by_the_book(key, sectors, first)


def test_decryption_undoes_encryption_and_needs_the_sector_number() -> None:
    key = bytes(range(64))
    sectors = hashlib.shake_256(b"sectors").digest(3 * pack.SECTOR)
    ciphertext = pack.encrypt(key, sectors, first=7)
    assert pack.decrypt(key, ciphertext, first=7) == sectors
    assert pack.decrypt(key, ciphertext, first=8) != sectors


def test_equal_sectors_have_unequal_ciphertexts() -> None:
    ciphertext = bytes(pack.encrypt(bytes(range(64)), bytes(4 * pack.SECTOR), first=0))
    sectors = [ciphertext[i : i + pack.SECTOR] for i in range(0, len(ciphertext), pack.SECTOR)]
    assert len(set(sectors)) == 4


def test_a_broken_sector_is_the_callers_fault() -> None:
    with pytest.raises(ValueError, match="no whole number of sectors"):
        pack.encrypt(bytes(range(64)), bytes(4097), first=0)


@pytest.mark.parametrize(
    ("blocks", "tree"),
    # Counted by hand: 128 digests of 32 bytes fit a block of 4096.
    [(2, 1), (128, 1), (129, 2 + 1), (128 * 128, 128 + 1), (128 * 128 + 1, 129 + 2 + 1)],
)
def test_hash_tree_has_the_blocks_that_its_levels_need(blocks: int, tree: int) -> None:
    parts = pack.layout(blocks * 4096)
    assert (parts.data_blocks, parts.hash_offset) == (blocks, blocks * 4096)
    assert parts.size == (blocks + tree) * 4096


@pytest.mark.parametrize("size", [0, 4096, 8191, 8193])
def test_a_file_system_without_whole_blocks_has_no_layout(size: int) -> None:
    with pytest.raises(ValueError, match="fewer than two"):
        pack.layout(size)


def test_identifiers_are_a_function_of_the_model_alone() -> None:
    ids = ["a", "b", "a.b", "a-b"]
    for one, other in pairwise(ids):
        assert pack.salt(one) != pack.salt(other)
        assert pack.filesystem_uuid(one) != pack.filesystem_uuid(other)
    assert pack.salt("a") == hashlib.sha256(b"mantlet/v1/salta").digest()
