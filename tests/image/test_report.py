# SPDX-License-Identifier: Apache-2.0
"""The release report on the real build: audited now, with results of attacks that are put in for it.

The results are no claim about the image; what the attacks really do is shown by the tests that boot it.
"""

import hashlib
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mantlet.attack import catalogue, document
from mantlet.cli import main
from mantlet.edge import operator_access, project, release_files
from mantlet.edge.image import Build
from mantlet.release import manifest, readiness, report, statement
from mantlet.release.audit_results import RECIPE
from mantlet_measure import dsse
from tests.unit.release.runs import run_of


@pytest.fixture(scope="module")
def attacks(built: Build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which each attack of the battery was inert."""
    data = (built.directory / "measurements.json").read_bytes()
    image = manifest.decode(data).image
    path = tmp_path_factory.mktemp("report") / "attacks.json"
    run = run_of(image.id, image.version, hashlib.sha256(data).hexdigest())
    path.write_bytes(document.encode(run))
    return path


def test_the_report_has_every_rule_with_the_verdicts_on_this_build_and_is_the_same_twice(
    built: Build, attacks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [tmp_path / "one.json", tmp_path / "two.json"]
    for path in paths:
        words = ["release", "report", str(built.directory), "--attacks", str(attacks)]
        assert main([*words, "--output", str(path), "--json"], {}) == 0
        against = json.loads(capsys.readouterr().out)["against"]
        assert not any(line.startswith(("attack", "image", "audit", "waiver")) for line in against)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    made = report.decode(paths[0].read_bytes())
    rules = operator_access.read().rules
    assert [row.rule.id for row in made.rows] == [rule.id for rule in rules]
    assert all(
        (row.static is None) == (rule.static is None) for row, rule in zip(made.rows, rules, strict=True)
    )
    assert made.audit.looked_at["UKIs"] == 1
    described = release_files.build_of(built.directory)[1]
    own = release_files.recipe_of(described.image)
    assert (RECIPE in made.audit.looked_at) == (own is not None)
    assert own in (None, project.root() / "image")
    assert made.build == release_files.build_of(built.directory)[0]
    assert len(made.attacks) == len(catalogue.CATALOGUE)
    assert len(made.registers["qemu-ovmf"]["sha384"][11]) == 48


def test_a_release_is_signed_on_it(built: Build, attacks: Path, tmp_path: Path) -> None:
    made, signed, key = (tmp_path / name for name in ("report.json", "release.json", "release.key"))
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    key.write_bytes(pem)
    folder = str(built.directory)
    assert main(["release", "report", folder, "--attacks", str(attacks), "-o", str(made)], {}) == 0
    words = ["release", "sign", folder, "--report", str(made), "--key", str(key), "-o", str(signed)]
    untried = readiness.not_run(report.decode(made.read_bytes()))
    waivers = [word for name in untried for word in ("--waive", f"{name}=no attack of this name yet")]
    assert main([*words, *waivers], {}) == 0
    said = statement.decode(dsse.decode(signed.read_bytes()).payload)
    assert said.report_sha256 == hashlib.sha256(made.read_bytes()).digest()
    assert said.build == release_files.build_of(built.directory)[0]
