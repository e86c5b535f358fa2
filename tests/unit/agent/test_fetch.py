# SPDX-License-Identifier: Apache-2.0
"""The fetch process against a real HTTPS server on loopback, and the pipe that its output goes through."""

import dataclasses
import hashlib
import os
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from mantlet_agent import arrival, command, fetch
from mantlet_agent.fetch import FetchError
from mantlet_agent.places import Places
from mantlet_agent.stages import Code, StageError
from mantlet_measure import deployment, dsse
from mantlet_measure.body import OFFSET
from mantlet_measure.errors import DecodeError
from mantlet_measure.remote import Remote
from tests.range_server import HOST, Resource, serving
from tests.unit.measure.samples import DEPLOYMENT, FETCHED, RELEASE_KEY, REMOTE

BODY = hashlib.shake_256(b"body").digest((3 << 20) + 17)
IMAGE = bytes(OFFSET) + BODY + bytes(8192)


class Clock:
    """Time that passes while somebody waits, and not otherwise."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


@contextmanager
def offered(folder: Path, resource: Resource) -> Iterator[Remote]:
    with serving(resource, folder) as served:
        yield Remote(
            url=f"https://{HOST}:{served.port}/pack.raw",
            address="127.0.0.1",
            authorities=(certificate(served.authority),),
        )


def certificate(pem: Path) -> bytes:
    text = pem.read_text()
    return ssl.PEM_cert_to_DER_cert(text[text.index("-----BEGIN CERT") :])


def got(remote: Remote) -> bytes:
    clock = Clock()
    return b"".join(fetch.download(remote, len(BODY), clock=clock, pause=clock.wait))


def test_a_body_comes_whole_and_nothing_around_it(tmp_path: Path) -> None:
    resource = Resource(content=IMAGE)
    with offered(tmp_path, resource) as remote:
        assert got(remote) == BODY
    assert resource.asked == [f"bytes={OFFSET}-{OFFSET + len(BODY) - 1}"]


def test_a_connection_that_breaks_is_taken_up_where_it_broke(tmp_path: Path) -> None:
    resource = Resource(content=IMAGE, drop_after=(1 << 20) + 5, drops=2)
    with offered(tmp_path, resource) as remote:
        assert got(remote) == BODY
    last = OFFSET + len(BODY) - 1
    assert resource.asked == [f"bytes={OFFSET + n * ((1 << 20) + 5)}-{last}" for n in range(3)]


def test_a_server_that_gives_less_than_was_asked_for_is_asked_for_the_rest(tmp_path: Path) -> None:
    with offered(tmp_path, Resource(content=IMAGE, longest=1 << 20)) as remote:
        assert got(remote) == BODY


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_server_that_is_busy_is_asked_again(tmp_path: Path, status: int) -> None:
    with offered(tmp_path, Resource(content=IMAGE, statuses=[status, status])) as remote:
        assert got(remote) == BODY


def test_a_server_that_never_gives_a_byte_is_given_up(tmp_path: Path) -> None:
    with (
        offered(tmp_path, Resource(content=IMAGE, drop_after=0, drops=-1)) as remote,
        pytest.raises(FetchError, match="expected 3145745 bytes, found 0: "),
    ):
        got(remote)


def test_an_address_where_nobody_answers_is_given_up(tmp_path: Path) -> None:
    with offered(tmp_path, Resource(content=IMAGE)) as remote:
        pass
    with pytest.raises(FetchError, match="refused"):
        got(remote)


@pytest.mark.parametrize(
    ("resource", "message"),
    [
        (Resource(content=IMAGE, ignores_ranges=True), "expected status 206, found 200"),
        (Resource(content=IMAGE, statuses=[404]), "found 404"),
        (Resource(content=IMAGE, redirect="https://elsewhere.test/", redirections=1), "found 302"),
        (Resource(content=IMAGE, shift=4096), "the bytes from 1048576 on"),
    ],
    ids=["the whole", "not found", "a redirection", "another range"],
)
def test_an_answer_that_is_not_the_range_is_refused(tmp_path: Path, resource: Resource, message: str) -> None:
    with offered(tmp_path, resource) as remote, pytest.raises(FetchError, match=message):
        got(remote)


def test_a_server_with_a_certificate_of_a_stranger_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    resource = Resource(content=IMAGE)
    with offered(tmp_path, resource) as remote, offered(tmp_path / "other", Resource(content=b"")) as other:
        stranger = dataclasses.replace(remote, authorities=other.authorities)
        with pytest.raises(FetchError, match="a certificate of the document's authorities"):
            got(stranger)
    assert resource.asked == []


def test_a_certificate_of_another_host_is_refused(tmp_path: Path) -> None:
    resource = Resource(content=IMAGE)
    with offered(tmp_path, resource) as remote:
        elsewhere = dataclasses.replace(remote, url=remote.url.replace(HOST, "other.test"))
        with pytest.raises(FetchError, match="a certificate of the document's authorities"):
            got(elsewhere)
    assert resource.asked == []


def test_an_authority_that_is_no_certificate_is_refused() -> None:
    with pytest.raises(FetchError, match="DER certificates"):
        got(dataclasses.replace(REMOTE, authorities=(b"no certificate",)))


def envelope(document: deployment.Deployment) -> bytes:
    return dsse.encode(dsse.sign(deployment.PAYLOAD_TYPE, deployment.encode(document), [RELEASE_KEY]))


def test_what_is_fetched_stands_in_the_document() -> None:
    assert fetch.read_document(envelope(FETCHED)) == (REMOTE, 9 + 16)
    with pytest.raises(DecodeError, match="a body that is fetched"):
        fetch.read_document(envelope(DEPLOYMENT))


def arriving(folder: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> bytes:
    """What `boot` reads when the unit that it starts writes `sent`."""
    places = Places(root=folder)
    places.private.mkdir(parents=True)
    started: list[Mapping[str, Code]] = []

    def start(units: Mapping[str, Code]) -> None:
        # As systemd does for Type=exec: the pipe is open before the job is done.
        started.append(units)
        opened = threading.Event()

        def run() -> None:
            descriptor = os.open(places.body, os.O_WRONLY)
            opened.set()
            with os.fdopen(descriptor, "wb") as target:
                target.write(sent)

        threading.Thread(target=run).start()
        assert opened.wait(60)

    monkeypatch.setattr(command, "start", start)
    target = bytearray(len(BODY))
    with arrival.fetched(places) as read:
        read(memoryview(target)[:7])
        read(memoryview(target)[7:])
    assert started == [{"mantlet-fetch.service": Code.FETCH_FAILED}]
    assert list(places.private.iterdir()) == []
    return bytes(target)


def test_what_the_fetch_process_writes_is_what_boot_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert arriving(tmp_path, monkeypatch, BODY) == BODY


def test_a_body_that_ends_too_early_was_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StageError) as refusal:
        arriving(tmp_path, monkeypatch, BODY[:-1])
    assert refusal.value.code is Code.FETCH_FAILED
