# SPDX-License-Identifier: Apache-2.0
"""When the evidence process begins: it is loaded early, and does nothing before its turn."""

import sys
from pathlib import Path

import pytest

from mantlet_agent import serve
from mantlet_agent.places import Places


def test_it_listens_and_opens_the_tpm_only_when_boot_has_made_the_tls_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places, happened = Places(root=tmp_path), list[str]()
    places.public.mkdir(parents=True)

    def note(event: str) -> None:
        happened.append(event)

    def sleep(_seconds: float) -> None:
        note("waits")
        if happened.count("waits") == 2:
            places.tls_spki.write_bytes(b"0" * 64)

    monkeypatch.setattr(sys, "tracebacklimit", 1000, raising=False)
    monkeypatch.setattr(serve, "Places", lambda: places)
    monkeypatch.setattr(serve, "_load_attester", lambda: note("loads") or (lambda: note("opens")))
    monkeypatch.setattr(serve, "_listen", lambda _places: note("listens"))
    monkeypatch.setattr(serve, "serve_forever", lambda *_: note("serves"))
    monkeypatch.setattr("mantlet_agent.serve.time.sleep", sleep)
    assert serve.main() == 0
    assert happened == ["loads", "waits", "waits", "listens", "opens", "serves"]
