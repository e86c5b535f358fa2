# SPDX-License-Identifier: Apache-2.0
"""Bytes at an offset, of a file or of an HTTPS resource that is read on from wherever the connection broke.

Follows RFC 9110, 14 (range requests), 8.8 (validators) and 15.4 (redirections). Who answers is checked as for
any web site; what it answers is not believed: the pack's cipher authenticates each chunk. All parts of a
resource come from one version of it. Nothing here knows what a pack is.
"""

import http.client
import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import SplitResult, urljoin, urlsplit

from mantlet_measure.errors import DecodeError, MantletError, UnavailableError, shown

_SCHEME = "https"
_REDIRECTIONS = 5
_REDIRECTED = frozenset({301, 302, 303, 307, 308})
# RFC 9110, 15.5.9 and 15.6; RFC 6585, 4: the same request may succeed later.
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
_ATTEMPTS = 7
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0
_SECONDS = 30.0
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")


class Source(Protocol):
    """Something of a known size that can be read anywhere."""

    @property
    def in_order(self) -> bool:
        """Whether it is read by one thread, and best in its order: a connection."""

    def read_into(self, offset: int, target: memoryview) -> None:
        """Fill `target` with the bytes from `offset` on. UnavailableError when they cannot be had."""


class LostSourceError(UnavailableError):
    """It went away while it was read: what was made of it so far is worth keeping."""


class _InterruptedError(Exception):
    """A failure that may pass. Its text says what it was."""


@contextmanager
def open_source(where: str, *, size: int) -> Iterator[Source]:
    """Lend the file or https URL `where`, which must have `size` bytes. DecodeError when it has others."""
    if "://" not in where:
        with Path(where).open("rb") as file:
            found = os.fstat(file.fileno()).st_size
            _require_size(where, size, found)
            yield FileSource(where, file.fileno())
        return
    source = HttpsSource(where, size=size)
    try:
        yield source
    finally:
        source.close()


class FileSource:
    """An open file. Any number of threads may read it."""

    in_order = False

    def __init__(self, name: str, descriptor: int) -> None:
        """Take the name for errors, and a descriptor that stays the caller's."""
        self._name = name
        self._descriptor = descriptor

    def read_into(self, offset: int, target: memoryview) -> None:
        """Fill `target` with the bytes from `offset` on. UnavailableError when the file has shrunk."""
        done = 0
        while done < len(target):
            count = os.preadv(self._descriptor, [target[done:]], offset + done)
            if count == 0:
                raise UnavailableError(
                    f"{self._name}: expected {len(target)} bytes at {offset}, found {done}",
                    hint="something shortened the file meanwhile: run the same command again",
                )
            done += count


class HttpsSource:
    """A resource behind an https URL; one answer is read as far as it carries, whatever comes next."""

    in_order = True

    def __init__(
        self,
        url: str,
        *,
        size: int,
        context: ssl.SSLContext | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Take the URL and the size it must have; nothing is asked yet.

        context: of TLS, by default the system's; pause: waits for so many seconds between attempts.
        """
        self._url = url
        self._size = size
        self._context = context or ssl.create_default_context()
        self._pause = pause
        self._validator: str | None = None
        self._connection: http.client.HTTPSConnection | None = None
        self._response: http.client.HTTPResponse | None = None
        self._position = self._end = 0

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
        self._connection = self._response = None

    def read_into(self, offset: int, target: memoryview) -> None:
        """Fill `target` with the bytes from `offset` on, asking again from there as often as it helps.

        Raises LostSourceError when it does not, DecodeError when the answer is not that range or the
        resource has changed, MantletError when TLS does not trust the server.
        """
        pause = _FIRST_PAUSE
        for left in reversed(range(_ATTEMPTS)):
            try:
                self._fill(offset, target)
                return
            except _InterruptedError as problem:
                self.close()
                if not left:
                    raise LostSourceError(
                        f"{self._url}: expected {len(target)} bytes at {offset}, found in the last of "
                        f"{_ATTEMPTS} attempts: {problem}",
                        hint="check the network and the server, then run the same command again",
                    ) from problem
            self._pause(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _fill(self, offset: int, target: memoryview) -> None:
        done = 0
        while done < len(target):
            if self._response is None or self._position != offset + done or self._position == self._end:
                self._ask(offset + done)
            done += self._receive(target[done:])

    def _receive(self, target: memoryview) -> int:
        if self._response is None:
            raise AssertionError("an answer was asked for")
        try:
            count = self._response.readinto(target[: self._end - self._position])
        except (OSError, http.client.HTTPException) as error:
            raise _InterruptedError(str(error) or type(error).__name__) from error
        if count == 0:
            raise _InterruptedError(f"the connection ended {self._end - self._position} bytes too early")
        self._position += count
        return count

    def _ask(self, offset: int) -> None:
        """Ask for all that follows `offset`, and hold the answer to it."""
        url = _split(self._url, self._url)
        for _ in range(1 + _REDIRECTIONS):
            self.close()
            response = self._get(url, offset)
            if response.status not in _REDIRECTED:
                self._end = self._accepted(response, offset)
                self._response, self._position = response, offset
                return
            url = _split(urljoin(url.geturl(), response.headers.get("Location", "")), self._url)
        raise UnavailableError(
            f"{self._url}: expected at most {_REDIRECTIONS} redirections, found more",
            hint="give the URL that they lead to",
        )

    def _get(self, url: SplitResult, offset: int) -> http.client.HTTPResponse:
        host = url.hostname or ""
        self._connection = http.client.HTTPSConnection(
            host, url.port, timeout=_SECONDS, context=self._context
        )
        target = f"{url.path or '/'}?{url.query}" if url.query else url.path or "/"
        headers = {"Range": f"bytes={offset}-", "Accept-Encoding": "identity", "User-Agent": "mantlet"}
        try:
            self._connection.request("GET", target, headers=headers)
            return self._connection.getresponse()
        except ssl.SSLCertVerificationError as error:
            raise MantletError(
                f"{host}: expected a certificate that this system trusts, found: {error.verify_message}",
                hint="name the file of its authority in SSL_CERT_FILE, if you trust it",
            ) from error
        except socket.gaierror as error:
            if error.errno != socket.EAI_AGAIN:
                raise UnavailableError(
                    f"{host}: no such host ({error.strerror})", hint="check the URL for a misspelling"
                ) from error
            raise _InterruptedError(str(error)) from error
        except (OSError, http.client.HTTPException) as error:
            raise _InterruptedError(str(error) or type(error).__name__) from error

    def _accepted(self, response: http.client.HTTPResponse, offset: int) -> int:
        """Return where the range of an answer ends. Refuses an answer that is not the range asked for."""
        if response.status in _PASSING:
            raise _InterruptedError(f"status {response.status}")
        if response.status == http.HTTPStatus.OK:
            raise self._refusal("status 206 and a range", "status 200: the server gives no ranges")
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            raise UnavailableError(
                f"{self._url}: expected status 206, found {response.status} {shown(response.reason)}",
                hint="check the URL, and that it needs no other permission than its own words",
            )
        said = response.headers.get("Content-Range", "none")
        found = _RANGE.fullmatch(said)
        first, last, total = map(int, found.groups()) if found is not None else (0, 0, 0)
        if found is None or first != offset or not offset <= last < total:
            raise self._refusal(f"bytes {offset}-…/{self._size}", shown(said))
        _require_size(self._url, self._size, total)
        validator = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        if self._validator not in (None, validator):
            raise self._refusal(f"version {shown(self._validator)}", f"version {shown(validator)}")
        self._validator = validator
        return last + 1

    def _refusal(self, expected: str, found: str) -> DecodeError:
        return DecodeError(
            f"answer of {self._url}",
            expected=expected,
            found=found,
            hint="fetch the file by other means, or start again: it may have been replaced meanwhile",
        )


def _split(url: str, asked: str) -> SplitResult:
    """Take a URL apart. UnavailableError unless it is https with a host."""
    try:
        parts = urlsplit(url)
        complete = parts.scheme == _SCHEME and bool(parts.hostname) and parts.port != 0
    except ValueError:
        complete = False
    if not complete or not url.isascii() or any(character <= " " for character in url):
        raise UnavailableError(
            f"{shown(asked)}: expected https://HOST/PATH, found {shown(url)}",
            hint="give an https URL or a file",
        )
    return urlsplit(url)


def _require_size(where: str, expected: int, found: int) -> None:
    if found != expected:
        raise DecodeError(
            where,
            expected=f"{expected:,} bytes",
            found=f"{found:,}",
            hint="fetch the pack again; check that the descriptor belongs to it",
        )
