# SPDX-License-Identifier: Apache-2.0
"""The model owner's key and the descriptors that it signs, as files.

Without an option it is the checkout's own key, `keys/owner.key`, made on first use. What a descriptor says
and when a signature counts is `mantlet.weights.descriptor`'s matter.
"""

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from mantlet.edge import files, project
from mantlet.edge.keys import KeyFolder
from mantlet.weights import descriptor as descriptors
from mantlet.weights.descriptor import Descriptor
from mantlet_measure import dsse
from mantlet_measure.errors import DecodeError, UnavailableError

_LIMIT = 1 << 16
_PUBLIC_KEY_END = b"-----END PUBLIC KEY-----"


def signing_key(path: Path | None) -> Ed25519PrivateKey:
    """Read the owner's private key; without a path it is the checkout's. DecodeError on another kind."""
    if path is None:
        return KeyFolder(project.key_folder()).owner()
    try:
        key = load_pem_private_key(files.read(path, limit=_LIMIT, what="owner key"), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise _foreign(path, "an unencrypted Ed25519 private key in PEM")
    return key


def trusted_keys(path: Path | None) -> tuple[Ed25519PublicKey, ...]:
    """Read the public keys that may sign descriptors: concatenated PEM, at least one, all of them Ed25519.

    A private key stands for its public one, so that who packs and who checks may name the same file. Without
    a path it is the checkout's key. UnavailableError when it has none, DecodeError on other content.
    """
    if path is None:
        path = project.key_folder() / "owner.pem"
        if not path.exists():
            raise UnavailableError(
                f"expected the model owner's public key at {path}, found none",
                hint="pass the owner's public key with --owner-key FILE",
            )
    data = files.read(path, limit=_LIMIT, what="owner key")
    if b"PRIVATE KEY-----" in data:
        return (signing_key(path).public_key(),)
    keys = []
    for block in data.split(_PUBLIC_KEY_END)[:-1]:
        try:
            key = load_pem_public_key(block + _PUBLIC_KEY_END)
        except (ValueError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, Ed25519PublicKey):
            raise _foreign(path, "Ed25519 public keys in PEM")
        keys.append(key)
    if not keys:
        raise _foreign(path, "Ed25519 public keys in PEM")
    return tuple(keys)


def read_descriptor(path: Path, *, owner_key: Path | None) -> Descriptor:
    """Read a pack's descriptor and check that its owner signed it; `owner_key` as in `trusted_keys`.

    Raises DecodeError, SignatureError on one that a stranger signed, OSError when it cannot be read.
    """
    keys = trusted_keys(owner_key)
    return descriptors.authenticate(files.read(path, limit=2 * dsse.LIMIT, what="pack descriptor"), keys=keys)


def write_descriptor(path: Path, descriptor: Descriptor, *, key: Ed25519PrivateKey) -> None:
    """Sign a descriptor and write it, all at once."""
    files.write_atomic(path, dsse.encode(descriptors.sign(descriptor, key)) + b"\n")


def _foreign(path: Path, expected: str) -> DecodeError:
    return DecodeError(
        f"owner key {path}",
        expected=expected,
        found="something else",
        hint="name the model owner's key with --owner-key; `openssl genpkey -algorithm ed25519` makes one",
    )
