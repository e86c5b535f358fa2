# SPDX-License-Identifier: Apache-2.0
"""Whether a process answers, asked over its Unix socket with one HTTP/1.1 request.

Owns that one question. It reads the status line and nothing else of the answer.
"""

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mantlet_agent.stages import Code, StageError, blamed

_PATIENCE_SECONDS = 10.0
_POLL_SECONDS = 0.1
_STATUS_LINE_LIMIT = 256
_OK = b"HTTP/1.1 200"


def require(
    path: Path, target: str, *, seconds: float, failed: Code, meanwhile: Callable[[], None] = lambda: None
) -> None:
    """Ask until the answer is 200. StageError with `failed` when it is not within `seconds`.

    meanwhile: called between two questions; what it raises ends the waiting.
    """
    deadline = time.monotonic() + seconds
    with blamed(failed):
        while time.monotonic() < deadline:
            with suppress(OSError):
                if status_line(path, target).startswith(_OK):
                    return
            meanwhile()
            time.sleep(_POLL_SECONDS)
    raise StageError(failed, f"{path} did not answer {target} with 200 within {seconds} s")


def status_line(path: Path, target: str) -> bytes:
    """Send GET and return the first line of the answer. OSError."""
    request = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_PATIENCE_SECONDS)
        connection.connect(str(path))
        connection.sendall(request.encode("ascii"))
        answer = b""
        while b"\r\n" not in answer and len(answer) < _STATUS_LINE_LIMIT:
            chunk = connection.recv(_STATUS_LINE_LIMIT)
            if not chunk:
                break
            answer += chunk
        return answer.split(b"\r\n", 1)[0]
