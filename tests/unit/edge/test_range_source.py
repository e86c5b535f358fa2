# SPDX-License-Identifier: Apache-2.0
"""Ranges out of files and of a real HTTPS server that drops, lies, changes its mind or redirects."""

import hashlib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mantlet.edge.range_source import HttpsSource, Source, open_source
from mantlet_measure.errors import DecodeError, MantletError, UnavailableError
from tests.range_server import Resource, serving

CONTENT = hashlib.shake_256(b"pack").digest(300_000)
PIECE = 50_000


@contextmanager
def opened(resource: Resource, folder: Path) -> Iterator[tuple[HttpsSource, list[float]]]:
    """A source on the server, and the pauses that it makes."""
    pauses: list[float] = []
    with serving(resource, folder):
        context = ssl.create_default_context(cafile=resource.authority)
        source = HttpsSource(resource.url, size=len(CONTENT), context=context, pause=pauses.append)
        try:
            yield source, pauses
        finally:
            source.close()


def read(source: Source, offset: int, size: int) -> bytes:
    target = bytearray(size)
    source.read_into(offset, memoryview(target))
    return bytes(target)


def read_all(source: Source, start: int = 0) -> bytes:
    places = range(start, len(CONTENT), PIECE)
    return b"".join(read(source, place, min(PIECE, len(CONTENT) - place)) for place in places)


def test_pieces_in_order_are_read_out_of_one_answer(tmp_path: Path) -> None:
    resource = Resource(content=CONTENT)
    with opened(resource, tmp_path) as (source, pauses):
        assert read_all(source, 1000) == CONTENT[1000:]
    assert resource.asked == ["bytes=1000-"]
    assert pauses == []


def test_a_piece_elsewhere_is_asked_for_anew(tmp_path: Path) -> None:
    resource = Resource(content=CONTENT)
    with opened(resource, tmp_path) as (source, _):
        assert read(source, 100, 10) == CONTENT[100:110]
        assert read(source, 7, 10) == CONTENT[7:17]
    assert resource.asked == ["bytes=100-", "bytes=7-"]


def test_a_dropped_connection_is_resumed_at_the_start_of_the_piece(tmp_path: Path) -> None:
    resource = Resource(content=CONTENT, drop_after=PIECE + 10, drops=2)
    with opened(resource, tmp_path) as (source, pauses):
        assert read_all(source) == CONTENT
    assert resource.asked == ["bytes=0-", f"bytes={PIECE}-", f"bytes={2 * PIECE}-"]
    assert pauses == [0.5, 0.5]


def test_a_server_that_always_drops_early_is_given_up_with_growing_pauses(tmp_path: Path) -> None:
    resource = Resource(content=CONTENT, drop_after=10, drops=-1)
    with (
        opened(resource, tmp_path) as (source, pauses),
        pytest.raises(UnavailableError, match="the last of 7 attempts: the connection ended"),
    ):
        read_all(source)
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 15.0]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_status_that_may_pass_is_waited_out(tmp_path: Path, status: int) -> None:
    resource = Resource(content=CONTENT, statuses=[status, status])
    with opened(resource, tmp_path) as (source, pauses):
        assert read_all(source) == CONTENT
    assert pauses == [0.5, 1.0]


@pytest.mark.parametrize("status", [403, 404, 416])
def test_a_status_that_will_not_pass_is_not_waited_for(tmp_path: Path, status: int) -> None:
    resource = Resource(content=CONTENT, statuses=[status])
    with (
        opened(resource, tmp_path) as (source, pauses),
        pytest.raises(UnavailableError, match=f"expected status 206, found {status}"),
    ):
        read_all(source)
    assert pauses == []


@pytest.mark.parametrize("shift", [-1, 1, 4096])
def test_another_range_than_was_asked_for_is_refused(tmp_path: Path, shift: int) -> None:
    with (
        opened(Resource(content=CONTENT, shift=shift), tmp_path) as (source, _),
        pytest.raises(DecodeError, match=rf"expected bytes 5000-.*found 'bytes {5000 + shift}-"),
    ):
        read_all(source, 5000)


def test_a_server_without_ranges_is_refused_instead_of_read_from_the_start(tmp_path: Path) -> None:
    with (
        opened(Resource(content=CONTENT, ignores_ranges=True), tmp_path) as (source, _),
        pytest.raises(DecodeError, match="the server gives no ranges"),
    ):
        read_all(source, 5000)


def test_a_server_that_gives_less_at_a_time_is_asked_for_the_rest(tmp_path: Path) -> None:
    resource = Resource(content=CONTENT, longest=70_000)
    with opened(resource, tmp_path) as (source, pauses):
        assert read_all(source) == CONTENT
    assert len(resource.asked) == 5
    assert pauses == []


def test_a_resource_that_changes_between_two_answers_is_refused(tmp_path: Path) -> None:
    resource = Resource(content=CONTENT, drop_after=PIECE, drops=1, etag_after=1)
    with opened(resource, tmp_path) as (source, _):
        assert read(source, 0, PIECE) == CONTENT[:PIECE]
        with pytest.raises(DecodeError, match=r"""expected version '"one"', found version '"two"'"""):
            read(source, PIECE, PIECE)


def test_a_resource_of_another_size_is_refused(tmp_path: Path) -> None:
    with (
        opened(Resource(content=CONTENT, total=len(CONTENT) + 1), tmp_path) as (source, _),
        pytest.raises(DecodeError, match=r"expected 300,000 bytes, found 300,001"),
    ):
        read_all(source)


def test_a_redirection_is_followed(tmp_path: Path) -> None:
    resource = Resource(content=CONTENT, redirect="/elsewhere", redirections=2)
    with opened(resource, tmp_path) as (source, _):
        assert read_all(source) == CONTENT


def test_a_redirection_without_end_is_refused(tmp_path: Path) -> None:
    resource = Resource(content=CONTENT, redirect="/elsewhere", redirections=100)
    with (
        opened(resource, tmp_path) as (source, _),
        pytest.raises(UnavailableError, match="at most 5 redirections"),
    ):
        read_all(source)


@pytest.mark.parametrize("where", ["http://127.0.0.1/x", "file:///x", "https://127.0.0.1/a b"])
def test_a_redirection_away_from_https_is_refused(tmp_path: Path, where: str) -> None:
    resource = Resource(content=CONTENT, redirect=where, redirections=1)
    with (
        opened(resource, tmp_path) as (source, _),
        pytest.raises(UnavailableError, match="expected https://HOST/PATH"),
    ):
        read_all(source)


def test_a_server_that_nobody_vouches_for_is_refused_at_once(tmp_path: Path) -> None:
    pauses: list[float] = []
    with serving(Resource(content=CONTENT), tmp_path) as resource:
        source = HttpsSource(resource.url, size=len(CONTENT), pause=pauses.append)
        with pytest.raises(MantletError, match="expected a certificate that this system trusts"):
            read_all(source)
        source.close()
    assert resource.asked == []
    assert pauses == []


def test_a_file_is_read_where_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "pack.raw"
    path.write_bytes(CONTENT)
    with open_source(str(path), size=len(CONTENT)) as source:
        assert read_all(source) == CONTENT
        path.write_bytes(CONTENT[:10])
        with pytest.raises(UnavailableError, match="expected 20 bytes at 0, found 10"):
            source.read_into(0, memoryview(bytearray(20)))


def test_a_file_of_another_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pack.raw"
    path.write_bytes(CONTENT)
    for size in (len(CONTENT) - 1, len(CONTENT) + 1):
        with (
            pytest.raises(DecodeError, match=r"expected .* bytes, found 300,000"),
            open_source(str(path), size=size),
        ):
            pass


@pytest.mark.parametrize("where", ["http://127.0.0.1/x", "ftp://127.0.0.1/x", "https:///x"])
def test_what_is_neither_file_nor_https_is_refused(where: str) -> None:
    with (
        pytest.raises(UnavailableError, match="expected https://HOST/PATH"),
        open_source(where, size=1) as source,
    ):
        source.read_into(0, memoryview(bytearray(1)))
