# SPDX-License-Identifier: Apache-2.0
"""The deployment document, the agent's only configuration (docs/formats.md, *Deployment document*).

Owns its types, its strict decoding and its canonical bytes. The bytes are what is signed and measured, so
`decode` refuses every other spelling of the same document. It checks no signature: `dsse.authenticate` comes
first.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mantlet_measure import strictjson
from mantlet_measure.body import Stream, stream_from_fields, stream_to_value
from mantlet_measure.errors import DecodeError
from mantlet_measure.remote import Remote, remote_from_fields, remote_to_value
from mantlet_measure.strictjson import Fields

FORMAT = "mantlet-deployment/v1"
PAYLOAD_TYPE = "application/vnd.mantlet.deployment+json"
ID_PATTERN = r"[a-z0-9][a-z0-9.-]{0,62}"
FILE_PATTERN = r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,126}"
VERSION_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._~^+-]{0,62}"
EPOCH_LIMIT = (1 << 32) - 1
BLOCK = 4096
_LIMIT = 64 << 10
_NAME_SIZE = 34
_SHA256 = b"\x00\x0b"
_LARGEST = 1 << 46


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A weights pack: what verifies it, and where its parts lie, in bytes and 4096-byte blocks.

    epoch: a machine whose counter stands above it gets no key for this pack. stream: the files of a stream
    body; without it the body is a disk's. The other members are those of the disk body in either case.
    """

    id: str
    version: str
    epoch: int
    file: str
    root_hash: bytes
    salt: bytes
    data_blocks: int
    hash_offset: int
    size: int
    stream: Stream | None = None

    @property
    def body_size(self) -> int:
        """The bytes of the body."""
        return self.size if self.stream is None else self.stream.size

    @property
    def partition_size(self) -> int:
        """The bytes of the partition that holds the body: whole blocks, and no more of them than it takes."""
        return self.size if self.stream is None else -(-self.stream.size // BLOCK) * BLOCK


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """Which image runs which model, under which reference values, and whose approvals open the model's key.

    policy_key: 34 bytes, the Name (Part 1, *Names*) of the one policy key that this machine obeys. fetch:
    from where the machine gets a stream body; without it, from its disk.
    """

    id: str
    image_id: str
    image_version: str
    manifest_sha256: bytes
    model: Model
    policy_key: bytes
    runtime: str
    fetch: Remote | None = None


def model_from_fields(fields: Fields) -> Model:
    """Take the members of a model object out of `fields`, which may hold others: call `done()` afterwards."""
    model = Model(
        id=fields.text("id", pattern=ID_PATTERN),
        version=fields.text("version", pattern=VERSION_PATTERN),
        epoch=fields.integer("epoch", 1, EPOCH_LIMIT),
        file=fields.text("file", pattern=FILE_PATTERN),
        root_hash=fields.hex("root_hash", 32),
        salt=fields.hex("salt", 32),
        data_blocks=fields.integer("data_blocks", 1, _LARGEST // BLOCK),
        hash_offset=fields.integer("hash_offset", BLOCK, _LARGEST),
        size=fields.integer("size", 2 * BLOCK, _LARGEST),
        stream=_stream_from_fields(fields),
    )
    if model.hash_offset % BLOCK or model.data_blocks * BLOCK > model.hash_offset:
        fields.refuse("hash_offset", f"a multiple of {BLOCK}, not below data_blocks × {BLOCK}")
    if model.size % BLOCK or model.size <= model.hash_offset:
        fields.refuse("size", f"a multiple of {BLOCK}, above hash_offset")
    if model.stream is not None and model.file not in {file.name for file in model.stream.files}:
        fields.refuse("file", "one of the files of the stream")
    return model


def _stream_from_fields(fields: Fields) -> Stream | None:
    """Take the members that say what the body is; `stream` is there exactly when it is one."""
    if fields.text("body", pattern="disk|stream") == "disk":
        return None
    return stream_from_fields(fields.fields("stream"), name_pattern=FILE_PATTERN)


def model_to_value(model: Model) -> Mapping[str, object]:
    """Return the model as the JSON object that `model_from_fields` reads."""
    return {
        "id": model.id,
        "version": model.version,
        "epoch": model.epoch,
        "file": model.file,
        "root_hash": model.root_hash.hex(),
        "salt": model.salt.hex(),
        "data_blocks": model.data_blocks,
        "hash_offset": model.hash_offset,
        "size": model.size,
        **_stream_to_value(model.stream),
    }


def _stream_to_value(stream: Stream | None) -> Mapping[str, object]:
    if stream is None:
        return {"body": "disk"}
    return {"body": "stream", "stream": stream_to_value(stream)}


def decode(payload: bytes) -> Deployment:
    """Decode the canonical bytes of a deployment document, at most 64 KiB. DecodeError on anything else."""
    what = "deployment document"
    fields = Fields(strictjson.decode(payload, what=what, limit=_LIMIT), what)
    fields.constant("format", FORMAT)
    image = fields.fields("image")
    model = fields.fields("model")
    deployment = Deployment(
        id=fields.text("id", pattern=ID_PATTERN),
        image_id=image.text("id", pattern=ID_PATTERN),
        image_version=image.text("version", pattern=VERSION_PATTERN),
        manifest_sha256=fields.hex("manifest_sha256", 32),
        model=model_from_fields(model),
        policy_key=fields.hex("policy_key", _NAME_SIZE),
        runtime=fields.text("runtime", pattern=ID_PATTERN),
        fetch=remote_from_fields(fields.fields("fetch")) if fields.has("fetch") else None,
    )
    model.done()
    image.done()
    fields.done()
    if not deployment.policy_key.startswith(_SHA256):
        fields.refuse("policy_key", f"a Name with SHA-256, which starts with {_SHA256.hex()}")
    if deployment.fetch is not None and deployment.model.stream is None:
        fields.refuse("fetch", "no such member beside a disk body")
    if encode(deployment) != payload:
        raise DecodeError(what, expected="canonical JSON", found="another spelling of the same document")
    return deployment


def encode(deployment: Deployment) -> bytes:
    """Return the canonical bytes, which are signed and measured."""
    return strictjson.encode(
        {
            "format": FORMAT,
            "id": deployment.id,
            "image": {"id": deployment.image_id, "version": deployment.image_version},
            "manifest_sha256": deployment.manifest_sha256.hex(),
            "model": model_to_value(deployment.model),
            "policy_key": deployment.policy_key.hex(),
            "runtime": deployment.runtime,
            **({} if deployment.fetch is None else {"fetch": remote_to_value(deployment.fetch)}),
        }
    )
