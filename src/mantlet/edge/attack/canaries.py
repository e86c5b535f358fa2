# SPDX-License-Identifier: Apache-2.0
"""Canaries: prompts that nobody else would write, sent in every way that ends badly, and then searched for.

Owns the prompts and the search through all that the host has of a machine: what its ports said, the wire, the
disks, the variables, the TPM's state, the hypervisor's own output. Its memory is a stated limit (`memory`).
"""

import json
import secrets
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mantlet.edge.attack.scene import Scene
from mantlet.edge.attack.stand import MODEL
from mantlet.edge.bench.provisioning import connect
from mantlet.edge.machine import Machine
from mantlet_measure.errors import MantletError

_PATH = "/v1/chat/completions"
_LIMIT = 1 << 20
_PATIENCE = 60.0
# The front refuses more than 4 MiB (policies/front.yaml).
_OVERSIZE = (4 << 20) + 4096
_CHUNK = 8 << 20
# From an answer to what is logged of its question.
_SETTLE = 10.0


def sweep(scene: Scene) -> tuple[str, ...]:
    """Send canaries and say where they are found again."""
    canary = f"canary-{secrets.token_hex(12)}"
    for body in _bodies(canary):
        try:
            with connect(scene.machine) as connection:
                connection.request("POST", _PATH, body, limit=_LIMIT)
        except MantletError:
            # Refused, or cut off: that is one way in which it may end.
            continue
    _cancel(scene, _request(canary, tokens=64))
    mark = canary.encode("ascii")
    scene.pace.wait(lambda: next(_found(scene, mark), None), least=_SETTLE)
    return tuple(_found(scene, mark))


def weights_canary(scene: Scene) -> bytes:
    """Bytes that are in the weights alone: from the middle of the model's tensors."""
    model = (scene.stand.folder / "tiny.gguf").read_bytes()
    return model[len(model) // 2 : len(model) // 2 + 64]


def _bodies(canary: str) -> Iterator[bytes]:
    valid = _request(canary, tokens=4)
    yield valid
    yield valid[:-9]
    yield valid.replace(b'"user"', b'"nobody"')
    yield valid.replace(canary.encode("ascii"), canary.encode("ascii") + b"\xff\xfe")
    yield valid.replace(b'"tiny"', b'"other"')
    yield _request(canary * (_OVERSIZE // len(canary)), tokens=1)
    yield json.dumps({"model": MODEL, "messages": canary}).encode("ascii")


def _request(text: str, *, tokens: int) -> bytes:
    message = {"role": "user", "content": text}
    request = {"model": MODEL, "messages": [message], "max_tokens": tokens}
    return json.dumps(request, separators=(",", ":")).encode("ascii")


def _cancel(scene: Scene, body: bytes) -> None:
    """Ask, and hang up before the answer."""
    head = f"POST {_PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    with tls(scene.machine) as secured:
        secured.sendall(head.encode("ascii") + body)


@contextmanager
def tls(machine: Machine) -> Iterator[ssl.SSLSocket]:
    """A connection to the front that believes whatever certificate it is shown, as an attacker's does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", machine.port), timeout=_PATIENCE) as plain,
        context.wrap_socket(plain) as secured,
    ):
        yield secured


def _found(scene: Scene, canary: bytes) -> Iterator[str]:
    places = {"prompt": canary, "weights": weights_canary(scene)}
    for kind, wanted in places.items():
        for name, port in scene.ports.items():
            if wanted in port.heard:
                yield f"a canary of the {kind} on {name}"
        for path in _files(scene):
            if _holds(path, wanted):
                yield f"a canary of the {kind} in {path.name}"


def _files(scene: Scene) -> Iterator[Path]:
    hardware = scene.machine.hardware
    yield from (path for path in (hardware.deployment, hardware.weights) if path is not None)
    for folder in (scene.folder, scene.machine.folder):
        yield from (path for path in sorted(folder.rglob("*")) if path.is_file())


def _holds(path: Path, wanted: bytes) -> bool:
    """Search a file of any size."""
    with path.open("rb") as file:
        tail = b""
        while block := file.read(_CHUNK):
            if wanted in tail + block:
                return True
            tail = block[-len(wanted) :]
    return False
