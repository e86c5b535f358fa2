# SPDX-License-Identifier: Apache-2.0
"""The verbs of the model owner over a stream pack, from its files and from an HTTPS server."""

import hashlib
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mantlet import cli
from mantlet.edge import pack_journal, range_source
from mantlet.edge.attack.tiny_gguf import tiny_gguf
from mantlet.edge.tools import ToolsTree
from mantlet.weights.disk import PARTITION_OFFSET
from mantlet_measure.body import CHUNK_SIZE, TAG_SIZE
from tests.range_server import Resource, serving

SEALED_SIZE = CHUNK_SIZE + TAG_SIZE

pytestmark = pytest.mark.usefixtures("tools")


@pytest.fixture
def owner(tmp_path: Path) -> Path:
    path = tmp_path / "owner.key"
    key = Ed25519PrivateKey.generate()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


@pytest.fixture
def pack(tmp_path: Path, owner: Path, tools: ToolsTree) -> Path:
    """The descriptor of a stream pack, whose model is one tiny GGUF."""
    model = tmp_path / "tiny.gguf"
    model.write_bytes(tiny_gguf())
    folder = tmp_path / "pack"
    assert weights("pack", model, "--id", "tiny", "--body", "stream", "--output", folder, owner=owner) == 0
    return folder / "tiny.json"


def weights(verb: str, *words: str | Path, owner: Path) -> int:
    return cli.main(["weights", verb, *map(str, words), "--owner-key", str(owner)], environ={})


def test_a_stream_pack_is_inspected_verified_and_extracted(
    pack: Path, owner: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = pack.with_suffix(".key")
    assert weights("inspect", pack, owner=owner) == 0
    assert weights("verify", pack, "--key", key, owner=owner) == 0
    assert weights("verify", pack, owner=owner) == 0
    capsys.readouterr()
    assert weights("extract", pack, "--key", key, "--output", tmp_path / "out", "--json", owner=owner) == 0
    assert json.loads(capsys.readouterr().out)["files"] == [str(tmp_path / "out" / "tiny.gguf")]
    assert (tmp_path / "out" / "tiny.gguf").read_bytes() == tiny_gguf()


def test_a_rekeyed_stream_opens_with_the_new_key_alone(pack: Path, owner: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    assert weights("rekey", pack, "--key", pack.with_suffix(".key"), "--output", new, owner=owner) == 0
    assert weights("verify", new / "tiny.json", "--key", new / "tiny.key", owner=owner) == 0
    assert weights("verify", new / "tiny.json", "--key", pack.with_suffix(".key"), owner=owner) == 1


@pytest.mark.parametrize("drops", [0, 1])
def test_a_stream_pack_is_extracted_from_a_url(
    pack: Path, owner: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drops: int
) -> None:
    resource = Resource(content=pack.with_suffix(".raw").read_bytes(), drop_after=1000, drops=drops)
    with serving(resource, tmp_path):
        monkeypatch.setenv("SSL_CERT_FILE", str(resource.authority))
        words = ("--key", pack.with_suffix(".key"), "--image", resource.url, "--output", tmp_path / "out")
        assert weights("extract", pack, *words, owner=owner) == 0
    assert (tmp_path / "out" / "tiny.gguf").read_bytes() == tiny_gguf()
    assert resource.asked == [f"bytes={PARTITION_OFFSET}-"] * (1 + drops)


def test_an_altered_stream_is_refused_from_a_url_and_from_a_file(
    pack: Path,
    owner: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    image = bytearray(pack.with_suffix(".raw").read_bytes())
    image[PARTITION_OFFSET] ^= 1
    pack.with_suffix(".raw").write_bytes(image)
    with serving(Resource(content=bytes(image)), tmp_path) as resource:
        monkeypatch.setenv("SSL_CERT_FILE", str(resource.authority))
        for where in (resource.url, str(pack.with_suffix(".raw"))):
            words = ("--key", pack.with_suffix(".key"), "--image", where, "--output", tmp_path / "out")
            assert weights("extract", pack, *words, owner=owner) == 1
            assert "stream: chunk 0 at byte 0: expected" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


def test_a_url_that_leads_nowhere_could_not_be_asked(
    pack: Path,
    owner: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with serving(Resource(content=b"", statuses=[404]), tmp_path) as resource:
        monkeypatch.setenv("SSL_CERT_FILE", str(resource.authority))
        words = ("--key", pack.with_suffix(".key"), "--output", tmp_path / "out", "--image", resource.url)
        assert weights("extract", pack, *words, owner=owner) == 3
    assert "expected status 206, found 404" in capsys.readouterr().err


def test_a_rekeying_whose_server_goes_away_is_gone_on_with_when_it_is_back(
    owner: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, folder = tmp_path / "tiny.gguf", tmp_path / "pack"
    model.write_bytes(tiny_gguf() + bytes(8 * CHUNK_SIZE))
    assert weights("pack", model, "--id", "tiny", "--body", "stream", "--output", folder, owner=owner) == 0
    monkeypatch.setattr(pack_journal, "_ENTRY_EACH", CHUNK_SIZE)
    monkeypatch.setattr(range_source, "_FIRST_PAUSE", 0.0)
    content = (folder / "tiny.raw").read_bytes()
    resource = Resource(content=content, drop_after=3 * CHUNK_SIZE, drops=1, gone_after=1)
    new = tmp_path / "new"
    with serving(resource, tmp_path):
        monkeypatch.setenv("SSL_CERT_FILE", str(resource.authority))
        words = ("rekey", folder / "tiny.json", "--key", folder / "tiny.key", "--image", resource.url)
        assert weights(*words, "--output", new, owner=owner) == 3
        assert "attempts: status 503" in capsys.readouterr().err
        assert sorted(path.name for path in new.iterdir()) == [".tiny.partial", "tiny.key"]
        asked, resource.gone_after = len(resource.asked), None
        assert weights(*words, "--output", new, owner=owner) == 0
    assert "Going on where an earlier run stopped" in capsys.readouterr().err
    assert resource.asked[asked] != f"bytes={PARTITION_OFFSET}-"
    assert weights("verify", new / "tiny.json", "--key", new / "tiny.key", owner=owner) == 0
    whole = ("--key", new / "tiny.key", "--id", "tiny", "--body", "stream", "--output", tmp_path / "whole")
    assert weights("pack", model, *whole, owner=owner) == 0
    assert (tmp_path / "whole" / "tiny.raw").read_bytes() == (new / "tiny.raw").read_bytes()


def test_an_extraction_whose_server_goes_away_is_gone_on_with_when_it_is_back(
    owner: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, folder, out = tmp_path / "tiny.gguf", tmp_path / "pack", tmp_path / "out"
    model.write_bytes(tiny_gguf() + hashlib.shake_256(b"large").digest(8 * CHUNK_SIZE))
    assert weights("pack", model, "--id", "tiny", "--body", "stream", "--output", folder, owner=owner) == 0
    monkeypatch.setattr(range_source, "_FIRST_PAUSE", 0.0)
    content = (folder / "tiny.raw").read_bytes()
    resource = Resource(content=content, drop_after=3 * SEALED_SIZE + 1000, drops=1, gone_after=1)
    with serving(resource, tmp_path):
        monkeypatch.setenv("SSL_CERT_FILE", str(resource.authority))
        words = ("extract", folder / "tiny.json", "--key", folder / "tiny.key", "--image", resource.url)
        assert weights(*words, "--output", out, owner=owner) == 3
        assert "attempts: status 503" in capsys.readouterr().err
        assert [path.name for path in out.iterdir()] == [".tiny.extracting"]
        asked, resource.gone_after = len(resource.asked), None
        assert weights(*words, "--output", out, owner=owner) == 0
    assert f"Going on where an earlier run stopped: {3 * SEALED_SIZE:,} bytes" in capsys.readouterr().err
    # What came before is neither fetched again nor asked for: each chunk of it gives its tag.
    assert resource.asked[asked:] == [f"bytes={PARTITION_OFFSET + 3 * SEALED_SIZE}-"]
    assert [path.name for path in out.iterdir()] == ["tiny.gguf"]
    assert (out / "tiny.gguf").read_bytes() == model.read_bytes()
