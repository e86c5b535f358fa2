# SPDX-License-Identifier: Apache-2.0
"""Stages configure and weights: the signed deployment document, the two disks and the keys it speaks of.

Owns the reading and the refusals. It extends nothing and opens no weights: `boot` does, in that order.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from mantlet_agent import block, files
from mantlet_agent.block import Partition, PartitionError
from mantlet_agent.places import Places
from mantlet_agent.stages import Code, StageError
from mantlet_measure import deployment as documents
from mantlet_measure import dsse, strictjson, volume
from mantlet_measure.deployment import Deployment
from mantlet_measure.errors import DecodeError
from mantlet_measure.sealed import SealedKey
from mantlet_measure.strictjson import Fields
from mantlet_measure.tpm_structs import name

WEIGHTS_PARTITION = "mantlet-weights"
_IN_IMAGE_LIMIT = 64 << 10
_PEM_END = b"-----END PUBLIC KEY-----\n"
# Disks are probed in parallel with the rest of the boot.
_DISK_SECONDS = 15.0
_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """The runtime of the image: its name, where and what to ask for its health, and for how long."""

    declaration: bytes
    name: str
    socket: Path
    health: str
    start_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """An authentic document, its envelope as signed, the volume it came from, and the image's runtime."""

    envelope: bytes
    payload: bytes
    deployment: Deployment
    volume: Partition
    runtime: Runtime


def read_configuration(places: Places) -> Configuration:
    """Read and authenticate the deployment document. StageError."""
    partition = _disk(places, volume.PARTITION, Code.VOLUME_ABSENT, Code.VOLUME_AMBIGUOUS)
    envelope = _slot(partition, volume.DOCUMENT_OFFSET, malformed=Code.DOCUMENT_MALFORMED)
    if envelope is None:
        raise StageError(Code.DOCUMENT_ABSENT)
    keys = trusted_keys(files.read(places.trust, limit=_IN_IMAGE_LIMIT))
    os_release = files.read(places.os_release, limit=_IN_IMAGE_LIMIT)
    runtime = read_runtime(files.read(places.runtime, limit=_IN_IMAGE_LIMIT))
    payload, deployment = authenticate(envelope, keys=keys, image=image_identity(os_release))
    return Configuration(
        envelope=envelope, payload=payload, deployment=deployment, volume=partition, runtime=runtime
    )


def authenticate(
    envelope: bytes, *, keys: tuple[Ed25519PublicKey, ...], image: tuple[str, str]
) -> tuple[bytes, Deployment]:
    """Return payload and document of an envelope signed by one of `keys` for `image` (id, version)."""
    try:
        payload = dsse.authenticate(dsse.decode(envelope), keys=keys, payload_type=documents.PAYLOAD_TYPE)
        deployment = documents.decode(payload)
    except DecodeError as error:
        raise StageError(Code.DOCUMENT_MALFORMED, error.message) from error
    except dsse.SignatureError as error:
        raise StageError(Code.DOCUMENT_UNSIGNED, error.message) from error
    named = deployment.image_id, deployment.image_version
    if named != image:
        raise StageError(Code.DOCUMENT_FOREIGN, f"expected image {image}, found {named}")
    return payload, deployment


def require_runtime(configuration: Configuration) -> None:
    """Refuse a document that wants another runtime than the image declares."""
    declared, wanted = configuration.runtime.name, configuration.deployment.runtime
    if wanted != declared:
        raise StageError(Code.RUNTIME_UNKNOWN, f"expected runtime {declared}, found {wanted}")


def require_deployed(deployment: Deployment, sealed: SealedKey) -> None:
    """Refuse a sealed key of another model, or under another policy key, than the document names. StageError.

    It comes before the key is loaded: the policy key of the first release owns the TPM for good.
    """
    model = deployment.model
    if (sealed.model, sealed.root_hash) != (model.id, model.root_hash):
        raise StageError(
            Code.SEALED_KEY_FOREIGN,
            f"expected {model.id} {model.root_hash.hex()}, found {sealed.model} {sealed.root_hash.hex()}",
        )
    try:
        policy_key = name(sealed.policy_key)
    except DecodeError as error:
        raise StageError(Code.SEALED_KEY_MALFORMED, error.message) from error
    if policy_key != deployment.policy_key:
        raise StageError(
            Code.POLICY_KEY_FOREIGN,
            f"expected the policy key {deployment.policy_key.hex()}, found {policy_key.hex()}",
        )


def read_runtime(declaration: bytes) -> Runtime:
    """Decode the runtime declaration of the image. Its bytes are what is measured."""
    what = "runtime declaration"
    fields = Fields(strictjson.decode(declaration, what=what), what)
    return Runtime(
        declaration=declaration,
        name=fields.text("name", pattern=documents.ID_PATTERN),
        socket=Path(fields.text("socket", pattern=r"/run/[a-z/.-]+")),
        health=fields.text("health", pattern=r"/[a-z0-9/]*"),
        start_seconds=fields.integer("start_seconds", 1, 3600),
    )


def read_sealed_key(partition: Partition) -> bytes | None:
    """Read the sealed key from the deployment volume, None if it awaits one. StageError."""
    return _slot(partition, volume.SEALED_KEY_OFFSET, malformed=Code.SEALED_KEY_MALFORMED)


def read_approvals(partition: Partition) -> bytes:
    """Read the approvals that go with the sealed key on the deployment volume. StageError."""
    approvals = _slot(partition, volume.APPROVALS_OFFSET, malformed=Code.APPROVALS_MALFORMED)
    if approvals is None:
        raise StageError(Code.APPROVALS_ABSENT)
    return approvals


def read_epoch_statement(partition: Partition) -> bytes | None:
    """Read the epoch statement from the deployment volume, None if there is none. StageError."""
    return _slot(partition, volume.EPOCH_OFFSET, malformed=Code.EPOCH_REFUSED)


def find_weights(places: Places, deployment: Deployment) -> Partition | None:
    """Find the partition that may hold the weights, None if they are fetched. StageError unless it fits."""
    if deployment.fetch is not None:
        return None
    partition = _disk(places, WEIGHTS_PARTITION, Code.WEIGHTS_ABSENT, Code.WEIGHTS_AMBIGUOUS)
    expected = deployment.model.partition_size
    if partition.size != expected:
        # A pack has no byte that nothing verifies; what follows it would never be read, and is refused.
        code = Code.WEIGHTS_TRUNCATED if partition.size < expected else Code.WEIGHTS_GROWN
        raise StageError(code, f"expected {expected} bytes, found a partition of {partition.size}")
    return partition


def trusted_keys(pem: bytes) -> tuple[Ed25519PublicKey, ...]:
    """Decode concatenated PEM public keys. ValueError unless all are Ed25519, and there is one."""
    keys = []
    for part in pem.split(_PEM_END)[:-1]:
        key = load_pem_public_key(part + _PEM_END)
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError("a deployment key must be Ed25519")
        keys.append(key)
    if not keys:
        raise ValueError("the image trusts no deployment key")
    return tuple(keys)


def image_identity(os_release: bytes) -> tuple[str, str]:
    """Return IMAGE_ID and IMAGE_VERSION of an os-release file (os-release(5)). KeyError when it lacks one."""
    lines = (line.partition("=") for line in os_release.decode("utf-8").splitlines())
    values = {name: value.strip("\"'") for name, _, value in lines}
    return values["IMAGE_ID"], values["IMAGE_VERSION"]


def _disk(places: Places, name: str, absent: Code, ambiguous: Code) -> Partition:
    def find() -> Partition:
        return block.find_partition(name, block=places.block, devices=places.devices)

    try:
        return _patiently(find)
    except PartitionError as error:
        raise StageError(ambiguous if error.found else absent, str(error)) from error


def _patiently(find: Callable[[], Partition]) -> Partition:
    deadline = time.monotonic() + _DISK_SECONDS
    while True:
        try:
            return find()
        except PartitionError as error:
            if error.found or time.monotonic() > deadline:
                raise
        time.sleep(_POLL_SECONDS)


def _slot(partition: Partition, offset: int, *, malformed: Code) -> bytes | None:
    try:
        return block.read_slot(partition, offset)
    except OSError as error:
        raise StageError(Code.VOLUME_UNREADABLE, str(error)) from error
    except DecodeError as error:
        raise StageError(malformed, error.message) from error
