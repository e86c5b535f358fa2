# SPDX-License-Identifier: Apache-2.0
"""The attested connection, against a real TLS server on loopback."""

import argparse
import socket
import ssl
import threading
from pathlib import Path

import pytest

from mantlet.client.handover import STATUS_PATH
from mantlet.edge.https import Address, AttestedConnection, address
from mantlet_measure.errors import MantletError, UnavailableError
from tests.authority import Authority
from tests.machine import Machine
from tests.served import DELTAS, Front, served


@pytest.fixture(scope="module")
def machine() -> Machine:
    return Machine(authority=Authority())


@pytest.fixture
def front(machine: Machine, tmp_path: Path) -> Front:
    return Front(machine=machine, folder=tmp_path)


def connect(front: Front) -> AttestedConnection:
    return AttestedConnection(Address(host="127.0.0.1", port=front.port), timeout=5)


def test_the_key_of_the_handshake_is_taken(front: Front) -> None:
    with served(front), connect(front) as first, connect(front) as second:
        assert len(first.tls_spki_sha256) == 32
        assert first.tls_spki_sha256 == second.tls_spki_sha256


def test_all_requests_go_over_one_connection(front: Front) -> None:
    with served(front), connect(front) as connection:
        for _ in range(3):
            assert connection.request("GET", STATUS_PATH, limit=4096).status == 200
        assert front.connections == 1


def test_a_connection_closed_by_the_server_is_made_again_to_the_same_key(front: Front) -> None:
    front.close_after_each = True
    with served(front), connect(front) as connection:
        for _ in range(3):
            assert connection.request("GET", STATUS_PATH, limit=4096).status == 200
        assert front.connections == 3


def test_a_connection_made_again_to_another_key_sends_nothing(front: Front) -> None:
    front.close_after_each, front.new_key_on_reconnect = True, True
    with served(front), connect(front) as connection:
        assert connection.request("GET", STATUS_PATH, limit=4096).status == 200
        with pytest.raises(MantletError, match="nothing was sent to it") as caught:
            connection.request("POST", "/v1/chat/completions", b"the secret prompt", limit=4096)
        assert not isinstance(caught.value, UnavailableError)
        assert front.seen == [STATUS_PATH]


def test_an_answer_above_the_limit_is_refused(front: Front) -> None:
    with served(front), connect(front) as connection, pytest.raises(MantletError, match="at most 8 bytes"):
        connection.request("GET", STATUS_PATH, limit=8)


def test_a_streamed_answer_comes_in_pieces(front: Front) -> None:
    with served(front), connect(front) as connection:
        stream = connection.stream("POST", "/v1/chat/completions", b"{}", limit=1 << 20)
        assert stream.status == 200
        assert b"".join(stream.chunks).count(b"data: ") == len(DELTAS) + 1


def test_a_streamed_answer_that_breaks_off_could_not_be_had(front: Front) -> None:
    front.cut_answer = True
    with served(front), connect(front) as connection:
        stream = connection.stream("POST", "/v1/chat/completions", b"{}", limit=1 << 20)
        with pytest.raises(UnavailableError):
            list(stream.chunks)


def test_tls_below_1_3_is_refused(front: Front) -> None:
    front.version = ssl.TLSVersion.TLSv1_2
    with served(front), pytest.raises(MantletError, match=r"expected HTTP over TLS 1.3") as caught:
        connect(front)
    assert not isinstance(caught.value, UnavailableError)


def test_a_port_where_nobody_listens_could_not_be_asked() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        where = Address(host="127.0.0.1", port=unused.getsockname()[1])
    with pytest.raises(UnavailableError, match="refused or closed"):
        AttestedConnection(where, timeout=5)


def test_a_host_without_a_name_could_not_be_asked() -> None:
    with pytest.raises(UnavailableError, match="no such host"):
        AttestedConnection(Address(host="machine.invalid", port=443), timeout=5)


def test_a_server_that_does_not_answer_could_not_be_asked() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        where = Address(host="127.0.0.1", port=silent.getsockname()[1])
        with pytest.raises(UnavailableError, match=r"no answer within 0.2 s"):
            AttestedConnection(where, timeout=0.2)


def test_a_server_that_hangs_up_in_the_handshake_could_not_be_asked() -> None:
    with socket.create_server(("127.0.0.1", 0)) as rude:

        def hang_up() -> None:
            accepted, _ = rude.accept()
            accepted.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(UnavailableError, match="refused or closed"):
            AttestedConnection(Address(host="127.0.0.1", port=rude.getsockname()[1]), timeout=5)
        thread.join()


def test_a_server_that_speaks_no_tls_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as plain:

        def speak() -> None:
            accepted, _ = plain.accept()
            accepted.recv(1)
            accepted.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            accepted.recv(4096)
            accepted.close()

        thread = threading.Thread(target=speak)
        thread.start()
        with pytest.raises(MantletError, match=r"expected HTTP over TLS 1.3") as caught:
            AttestedConnection(Address(host="127.0.0.1", port=plain.getsockname()[1]), timeout=5)
        assert not isinstance(caught.value, UnavailableError)
        thread.join()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://example.org:8443", Address(host="example.org", port=8443)),
        ("https://example.org/", Address(host="example.org", port=443)),
        ("127.0.0.1:8443", Address(host="127.0.0.1", port=8443)),
        ("https://[::1]:8443", Address(host="::1", port=8443)),
    ],
)
def test_an_address_is_read(text: str, expected: Address) -> None:
    assert address(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "http://example.org",
        "https://",
        "https://h:99999",
        "https://h/path",
        "https://h?q",
        "https://u@h",
        "https://h:x",
    ],
)
def test_another_address_is_a_usage_error(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        address(text)


def test_an_ipv6_address_is_shown_in_brackets() -> None:
    assert str(Address(host="::1", port=443)) == "[::1]:443"
