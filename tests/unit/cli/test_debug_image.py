# SPDX-License-Identifier: Apache-2.0
"""No verb that approves, deploys or trusts takes a debug image unless it is told to."""

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from mantlet import cli
from mantlet.edge.keys import KeyFolder
from mantlet.release import manifest
from tests.authority import Authority
from tests.unit.release.samples import MANIFEST

POLICY = Path(__file__).parents[3] / "policies" / "appraisal" / "test.yaml"


@pytest.fixture
def trust(tmp_path: Path) -> list[str]:
    """The options of every verb that appraises, with the manifest of a debug image."""
    keys = KeyFolder(tmp_path)
    keys.deployment()
    keys.policy()
    debug = replace(MANIFEST, image=replace(MANIFEST.image, id="mantlet-debug"))
    (tmp_path / "measurements.json").write_bytes(manifest.encode(debug))
    roots = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in Authority().certificates)
    (tmp_path / "roots.pem").write_bytes(roots)
    return [
        *("--manifest", str(tmp_path / "measurements.json"), "--policy", str(POLICY)),
        *("--ek-roots", str(tmp_path / "roots.pem"), "--deployment-key", str(tmp_path / "deployment.pem")),
    ]


def words(verb: str, folder: Path) -> list[str]:
    machine = "https://127.0.0.1:1"
    return {
        "verify": ["verify", machine],
        "ask": ["ask", machine, "why"],
        "approve": [
            *("release", "approve", "--policy-key", str(folder / "policy.key")),
            *("--deployment", str(folder / "none"), "--output", str(folder / "approvals.json")),
        ],
    }[verb]


@pytest.mark.parametrize("verb", ["verify", "ask", "approve"])
def test_a_debug_image_is_refused_by_a_verb_that_was_not_told(
    verb: str, trust: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*words(verb, tmp_path), *trust], environ={}) == 1
    assert "expected a sealed image, found the debug image mantlet-debug" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["verify", "ask", "approve"])
def test_a_verb_that_was_told_goes_on_to_ask(
    verb: str, trust: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Nobody listens on that port, and there is no deployment: it could not ask.
    assert cli.main([*words(verb, tmp_path), *trust, "--debug-image"], environ={}) == 3
    assert "debug image mantlet-debug" not in capsys.readouterr().err


def test_deploy_refuses_a_debug_image_before_it_signs(
    trust: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    volume = tmp_path / "deployment.raw"
    refused = [
        *("deploy", "--id", "x", "--pack", str(tmp_path / "none"), "--manifest", trust[1]),
        *("--policy-key", str(tmp_path / "policy.pem"), "--output", str(volume)),
    ]
    assert cli.main(refused, environ={}) == 1
    assert "expected a sealed image, found the debug image" in capsys.readouterr().err
    assert not volume.exists()
