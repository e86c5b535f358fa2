# SPDX-License-Identifier: Apache-2.0
"""Stage launch: from a data key to a runtime that answers.

Owns the order: cipher, verity above it, key gone, mount, file, runtime; and the way back, which leaves
nothing mapped or mounted. It decides nothing about who may have the key.
"""

import os
import stat
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from mantlet_agent import files, health, kernel, mapping
from mantlet_agent.block import Partition
from mantlet_agent.configuration import Runtime
from mantlet_agent.mapper import Mapped, Mapper
from mantlet_agent.places import Places
from mantlet_agent.stages import Code, StageError
from mantlet_measure.deployment import Model
from mantlet_measure.disk_key import disk_key

_CIPHER_NAME = "mantlet-weights-cipher"
_VERITY_NAME = "mantlet-weights"
_FILESYSTEM = "erofs"
_READ_AHEAD = 256 << 20
_READ_AHEAD_STEP = 1 << 20


# Raises StageError once a block of the weights was read that does not verify. A runtime that maps its model
# with MAP_POPULATE never comes back from such a block, since the kernel asks for the page again and again
# (mm_populate() takes each try of filemap_fault() for the first): so its device is asked.
Watch = Callable[[], None]


def open_weights(places: Places, partition: Partition | None, model: Model, data_key: bytearray) -> Watch:
    """Map, mount and check the weights; wipe the key. StageError, and then nothing stays mapped.

    A stream body is decrypted into memory instead, and stands at the same place. partition: None when the
    body is fetched, which only a stream body can be. Return what to call while a runtime reads them.
    """
    if model.stream is not None:
        from mantlet_agent import arrival, stream_body

        source = arrival.fetched(places) if partition is None else stream_body.stored(partition)
        stream_body.open_stream(places, source, model, model.stream, data_key)
        return _nothing
    if partition is None:
        raise AssertionError("a document with a disk body names no other place")
    with ExitStack() as undo:
        try:
            mapper = undo.enter_context(Mapper(places.devices))
            cipher = _map_cipher(mapper, partition, model, data_key)
            undo.callback(mapper.remove, cipher.name)
            verity = mapper.create(_VERITY_NAME, mapping.verity(model, device=cipher.number))
            undo.callback(mapper.remove, verity.name)
        except OSError as error:
            raise StageError(Code.MAPPING_FAILED, str(error)) from error
        finally:
            kernel.wipe(data_key)
        try:
            places.weights.mkdir(mode=0o755, exist_ok=True)
            kernel.mount_read_only(mapper.node(verity), places.weights, _FILESYSTEM)
        except OSError as error:
            raise StageError(Code.WEIGHTS_CORRUPT, str(error)) from error
        undo.callback(kernel.unmount, places.weights)
        check_model(places.weights / model.file)
        undo.pop_all()
    return partial(_require_whole, places.devices)


def _map_cipher(mapper: Mapper, partition: Partition, model: Model, data_key: bytearray) -> Mapped:
    """Load the cipher's table while its key is in the session keyring, and take the key out again."""
    key = disk_key(data_key, model.root_hash)
    try:
        serial = kernel.add_logon_key(mapping.KEY_DESCRIPTION, key)
    finally:
        kernel.wipe(key)
    try:
        return mapper.create(
            _CIPHER_NAME, mapping.crypt(model, device=f"{partition.major}:{partition.minor}")
        )
    finally:
        kernel.drop_key(serial)


def check_model(path: Path) -> None:
    """Refuse a model that is not a regular file, or whose first byte does not verify."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise StageError(Code.MODEL_ABSENT, f"{path.name} is not in the weights") from error
    except OSError as error:
        raise StageError(Code.WEIGHTS_CORRUPT, str(error)) from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise StageError(Code.MODEL_ABSENT, f"{path.name} is not a regular file")
        os.read(descriptor, 1)
        # The runtime maps all of it. Deciphered and verified while programs start, it is there when they ask.
        # One call reads no more than the device takes at once.
        for offset in range(0, _READ_AHEAD, _READ_AHEAD_STEP):
            os.posix_fadvise(descriptor, offset, _READ_AHEAD_STEP, os.POSIX_FADV_WILLNEED)
    except OSError as error:
        raise StageError(Code.WEIGHTS_CORRUPT, str(error)) from error
    finally:
        os.close(descriptor)


def runtime_unit(places: Places, model: Model) -> Mapping[str, Code]:
    """Return the runtime's unit and its code; leave it the one word that the image cannot know."""
    # Read by systemd alone.
    files.write(places.runtime_environment, f"MODEL_FILE={model.file}\n".encode("ascii"), mode=0o644)
    return {f"mantlet-runtime@{model.id}.service": Code.RUNTIME_FAILED}


def wait_for_runtime(runtime: Runtime, watch: Watch) -> None:
    """Wait until the runtime reports health, and watch its weights meanwhile. StageError."""
    health.require(
        *(runtime.socket, runtime.health),
        seconds=runtime.start_seconds,
        failed=Code.RUNTIME_FAILED,
        meanwhile=watch,
    )


def _require_whole(devices: Path) -> None:
    try:
        with Mapper(devices) as mapper:
            corrupt = mapper.is_corrupt(_VERITY_NAME)
    except OSError as error:
        raise StageError(Code.MAPPING_FAILED, str(error)) from error
    if corrupt:
        raise StageError(Code.WEIGHTS_CORRUPT, f"a block of {_VERITY_NAME} does not hash to the root hash")


def _nothing() -> None:
    """Watch a stream body: each of its chunks was authenticated before it was stored."""
