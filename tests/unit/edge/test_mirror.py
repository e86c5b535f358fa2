# SPDX-License-Identifier: Apache-2.0
"""The mirror is found, or its absence explained; none is ever assumed."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typing_extensions import override

from mantlet.edge import mirror
from mantlet_measure.errors import UnavailableError


class _Quiet(http.server.SimpleHTTPRequestHandler):
    @override
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    suite = tmp_path / "dists" / "sid"
    suite.mkdir(parents=True)
    (suite / "InRelease").write_text("Origin: Debian\n")

    def handler(*arguments: object) -> _Quiet:
        return _Quiet(*arguments, directory=str(tmp_path))  # type: ignore[arg-type]  # as the server calls it

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}/"
        listening.shutdown()


def test_a_given_mirror_wins_and_its_release_file_is_what_counts(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MANTLET_MIRROR", server)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    first = mirror.find("sid")
    assert first.uri == server.rstrip("/")
    (tmp_path / "dists" / "sid" / "InRelease").write_text("Origin: Debian\nDate: later\n")
    assert mirror.find("sid").release_sha256 != first.release_sha256


def test_a_mirror_without_the_suite_is_refused_with_the_mend(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MANTLET_MIRROR", server)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(UnavailableError, match="suite bullfrog") as refusal:
        mirror.find("bullfrog")
    assert "MANTLET_MIRROR" in refusal.value.hint
