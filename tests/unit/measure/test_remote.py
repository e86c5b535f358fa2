# SPDX-License-Identifier: Apache-2.0
"""The `fetch` object of a deployment document: what it means, and every way in which it is refused."""

import dataclasses
from typing import Any

import pytest

from mantlet_measure import deployment, strictjson
from mantlet_measure.errors import DecodeError
from mantlet_measure.remote import AUTHORITIES_LIMIT, Remote, remote_from_fields, remote_to_value
from mantlet_measure.strictjson import Fields
from tests.unit.measure.samples import DEPLOYMENT, FETCHED, REMOTE


def decode(value: object) -> Remote:
    return remote_from_fields(Fields(value, "fetch"))


def test_a_document_says_where_its_body_is_fetched_from() -> None:
    assert deployment.decode(deployment.encode(FETCHED)) == FETCHED


def test_a_url_names_the_host_the_port_and_what_is_asked_for() -> None:
    assert (REMOTE.host, REMOTE.port, REMOTE.target) == ("store.test", 8443, "/a/model.raw?key=x&n=1")
    plain = dataclasses.replace(REMOTE, url="https://192.0.2.7/")
    assert (plain.host, plain.port, plain.target) == ("192.0.2.7", 443, "/")


def test_a_document_that_has_a_disk_body_fetched_is_refused() -> None:
    payload = deployment.encode(dataclasses.replace(DEPLOYMENT, fetch=REMOTE))
    with pytest.raises(DecodeError, match="disk body"):
        deployment.decode(payload)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        *(("url", text) for text in ("", "http://store.test/x", "https://store.test", "https:///x")),
        *(
            ("url", f"https://{host}/x")
            for host in ("user@store.test", "store test", "-store", "[::1]", "a:0")
        ),
        *(("url", f"https://store.test:{port}/x") for port in ("65536", "99999", "1a", "")),
        *(
            ("url", f"https://store.test/{path}")
            for path in ("a b", "a#b", "a\r\nX: y", "é", "a" * 2000, '"')
        ),
        *(("address", text) for text in ("", "store.test", "1.2.3", "1.2.3.256", "01.2.3.4", "::1")),
        *(
            ("authorities", items)
            for items in ([], ["!"], [""], [1], "b25l", ["b25l"] * (AUTHORITIES_LIMIT + 1))
        ),
    ],
)
def test_a_member_that_is_not_what_it_should_be_is_refused(member: str, value: Any) -> None:
    with pytest.raises(DecodeError):
        decode({**remote_to_value(REMOTE), member: value})


@pytest.mark.parametrize("member", ["url", "address", "authorities"])
def test_a_missing_member_is_refused(member: str) -> None:
    with pytest.raises(DecodeError):
        decode({name: value for name, value in remote_to_value(REMOTE).items() if name != member})


def test_an_unknown_member_is_refused() -> None:
    with pytest.raises(DecodeError):
        decode({**remote_to_value(REMOTE), "insecure": True})
    payload = deployment.encode(FETCHED).replace(b'"fetch":{', b'"fetch":{"a":1,')
    with pytest.raises(DecodeError):
        deployment.decode(payload)
    assert strictjson.decode(payload, what="document")
