# SPDX-License-Identifier: Apache-2.0
"""`deploy --fetch`: what it puts into the document, and what it refuses to sign."""

import argparse
import dataclasses
from pathlib import Path
from typing import NoReturn

import pytest

from mantlet.cli import remote_body
from mantlet_agent.fetch import _context
from mantlet_measure.deployment import Model
from mantlet_measure.errors import DecodeError, MantletError
from tests.range_server import Resource, serving
from tests.unit.measure.samples import MODEL, STREAMED

WORDS = ("--fetch", "https://store.test/pack.raw", "--fetch-address", "192.0.2.7")


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """The certificate of a server, its key in the same file, twice."""
    with serving(Resource(content=b""), tmp_path) as resource:
        path = tmp_path / "authorities.pem"
        path.write_text(resource.authority.read_text() * 2)
    return path


def given(model: Model, *words: str) -> object:
    def usage_error(message: str) -> NoReturn:
        raise SystemExit(message)

    parser = argparse.ArgumentParser()
    parser.set_defaults(usage_error=usage_error)
    remote_body.add_options(parser)
    return remote_body.given(parser.parse_args(words), model)


def test_a_document_fetches_nothing_unless_it_is_told_to() -> None:
    assert given(MODEL) is None


def test_every_certificate_of_the_file_is_an_authority_and_nothing_else_of_it(authority: Path) -> None:
    remote = given(STREAMED, *WORDS, "--fetch-authority", str(authority))
    assert dataclasses.is_dataclass(remote)
    assert isinstance(remote, remote_body.Remote)
    assert (remote.url, remote.address) == (WORDS[1], WORDS[3])
    assert len(remote.authorities) == 2
    assert _context(remote).cert_store_stats()["x509"] == 1


@pytest.mark.parametrize("missing", [0, 2])
def test_the_three_options_go_together(missing: int) -> None:
    words = [*WORDS[:missing], *WORDS[missing + 2 :]]
    with pytest.raises(SystemExit, match="go together"):
        given(STREAMED, *words)


def test_a_disk_body_is_not_deployed_to_be_fetched(authority: Path) -> None:
    with pytest.raises(MantletError, match="expected a stream body"):
        given(MODEL, *WORDS, "--fetch-authority", str(authority))


@pytest.mark.parametrize(
    "content", ["", "no certificate", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----"]
)
def test_a_file_without_a_certificate_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "authority.pem"
    path.write_text(content)
    with pytest.raises(MantletError):
        given(STREAMED, *WORDS, "--fetch-authority", str(path))


@pytest.mark.parametrize(
    "words",
    [("--fetch", "http://store.test/pack.raw", *WORDS[2:]), (*WORDS[:2], "--fetch-address", "store.test")],
    ids=["no TLS", "a name as address"],
)
def test_what_the_machine_would_refuse_is_not_signed(authority: Path, words: tuple[str, ...]) -> None:
    with pytest.raises(DecodeError):
        given(STREAMED, *words, "--fetch-authority", str(authority))
