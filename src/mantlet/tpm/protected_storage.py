# SPDX-License-Identifier: Apache-2.0
"""TPM 2.0 protected storage from the outside: seeds, key derivation and the outer wrap.

Owns what MakeCredential and a duplicated object have in common (TPM 2.0 Library, Part 1, *Key Derivation
Function*,
*Outer Duplication Wrapper* and *Credential Protection*, with annexes B.10 for RSA and C.6 for ECC). It does
not know what is wrapped, draws no randomness of its own but that of RSA-OAEP's padding, and cannot open what
it closes: only the TPM can.
"""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

Entropy = Callable[[int], bytes]
"""A source of so many unpredictable bytes."""

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Protection:
    """How a parent protects what it holds: its name algorithm, and the key size of its AES-CFB, in bits."""

    hash_name: str
    aes_bits: int

    @property
    def digest_size(self) -> int:
        """Bytes of a digest of the name algorithm, which is also the size of a seed."""
        return hashlib.new(self.hash_name).digest_size


SHA256_AES128 = Protection(hash_name="sha256", aes_bits=128)
SHA384_AES256 = Protection(hash_name="sha384", aes_bits=256)


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedSeed:
    """A seed, and the content of the TPM2B_ENCRYPTED_SECRET that carries it to the holder of the private
    key."""

    seed: bytes
    encrypted: bytes


def kdfa(hash_name: str, key: bytes, label: str, contexts: tuple[bytes, bytes], bits: int) -> bytes:
    """Derive `bits` (a multiple of 8) by the TPM's KDFa, SP 800-108 in counter mode.

    Source: TPM 2.0 Part 1, 11.4.10.2: [i] ‖ Label ‖ 00 ‖ ContextU ‖ ContextV ‖ [bits], HMAC under `key`.
    """
    fixed = label.encode("ascii") + b"\0" + contexts[0] + contexts[1] + bits.to_bytes(4, "big")
    output = b""
    counter = 0
    while len(output) * 8 < bits:
        counter += 1
        output += hmac.digest(key, counter.to_bytes(4, "big") + fixed, hash_name)
    return output[: bits // 8]


def kdfe(hash_name: str, z: bytes, use: str, parties: tuple[bytes, bytes], bits: int) -> bytes:
    """Derive `bits` (a multiple of 8) by the TPM's KDFe, SP 800-56A with a hash.

    Source: TPM 2.0 Part 1, 11.4.10.3: [i] ‖ Z ‖ Use ‖ 00 ‖ PartyUInfo ‖ PartyVInfo.
    """
    output = b""
    counter = 0
    while len(output) * 8 < bits:
        counter += 1
        block = counter.to_bytes(4, "big") + z + use.encode("ascii") + b"\0" + parties[0] + parties[1]
        output += hashlib.new(hash_name, block).digest()
    return output[: bits // 8]


def share_seed(recipient: PublicKey, protection: Protection, use: str, entropy: Entropy) -> SharedSeed:
    """Make a seed that the holder of `recipient` alone can recover; `use` is IDENTITY or DUPLICATE."""
    if isinstance(recipient, rsa.RSAPublicKey):
        return _share_by_oaep(recipient, protection, use, entropy)
    return _share_by_ecdh(recipient, protection, use, entropy)


def outer_wrap(seed: bytes, protection: Protection, *, name: bytes, sensitive: bytes) -> bytes:
    """Encrypt `sensitive` (a marshalled TPM2B) and bind it to `name`: TPM2B integrity HMAC ‖ ciphertext.

    Source: TPM 2.0 Part 1, 23.3.2.3 and 24.4: the key of the cipher depends on the name, and the HMAC covers
    it.
    """
    storage = kdfa(protection.hash_name, seed, "STORAGE", (name, b""), protection.aes_bits)
    integrity = kdfa(protection.hash_name, seed, "INTEGRITY", (b"", b""), protection.digest_size * 8)
    # AES-CFB with an IV of zeros: the key is used once (Part 1, 23.3.2.3).
    encryptor = Cipher(algorithms.AES(storage), CFB(bytes(16))).encryptor()
    ciphertext = encryptor.update(sensitive) + encryptor.finalize()
    tag = hmac.digest(integrity, ciphertext + name, protection.hash_name)
    return sized(tag) + ciphertext


def sized(data: bytes) -> bytes:
    """Marshal a TPM2B: the size as an unsigned 16-bit big-endian integer, then the bytes."""
    return len(data).to_bytes(2, "big") + data


def _share_by_oaep(
    recipient: rsa.RSAPublicKey, protection: Protection, use: str, entropy: Entropy
) -> SharedSeed:
    # Part 1, B.4 and B.10.3: OAEP with the name algorithm for both hashes; the label includes its terminating
    # NUL.
    algorithm = hashes.SHA256() if protection.hash_name == "sha256" else hashes.SHA384()
    scheme = padding.OAEP(mgf=padding.MGF1(algorithm), algorithm=algorithm, label=use.encode("ascii") + b"\0")
    seed = entropy(protection.digest_size)
    return SharedSeed(seed=seed, encrypted=recipient.encrypt(seed, scheme))


def _share_by_ecdh(
    recipient: ec.EllipticCurvePublicKey, protection: Protection, use: str, entropy: Entropy
) -> SharedSeed:
    # Part 1, C.6.1: one-pass Diffie-Hellman; KDFe over the x-coordinates of the shared and the two public
    # points.
    size = (recipient.curve.key_size + 7) // 8
    # FIPS 186-5, A.2.1: 64 bits more than the order, so that the remainder is as good as uniform.
    scalar = int.from_bytes(entropy(size + 8), "big") % (recipient.curve.group_order - 1) + 1
    ephemeral = ec.derive_private_key(scalar, recipient.curve)
    z = ephemeral.exchange(ec.ECDH(), recipient)
    ours = ephemeral.public_key().public_numbers()
    x, y = ours.x.to_bytes(size, "big"), ours.y.to_bytes(size, "big")
    theirs = recipient.public_numbers().x.to_bytes(size, "big")
    seed = kdfe(protection.hash_name, z, use, (x, theirs), protection.digest_size * 8)
    return SharedSeed(seed=seed, encrypted=sized(x) + sized(y))
