# SPDX-License-Identifier: Apache-2.0
"""The debug image is open where it says so, is signed by nobody whom machines trust, and says what it is."""

from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mantlet.audit import engine
from mantlet.audit.finding import Report
from mantlet.edge import audited, image, operator_access, project, recipe
from mantlet.edge.image import Build
from mantlet.edge.keys import KeyFolder
from mantlet.edge.profile import Profile
from mantlet.release import manifest

FOLDER = Path("image/debug")
# Checks of the audit, by the opening that they must find.
FOUND = {
    "autologin": {"autologin", "getty", "serial-getty", "login-programs"},
    "password-less-root": {"passwords", "login-shells"},
    "debug-shell": {"debug-shell", "shells"},
    "emergency-shell": {"emergency-shell"},
    "generators": {"generators", "gpt-auto"},
    "credentials": {"credential-import"},
    "extensions": {"extensions"},
    "no-execution-policy": {"execution-policy"},
    "ssh": {"ssh-generator", "remote-access", "listening-sockets"},
    "cores": {"core-dumps"},
    "drivers": {"opening-modules"},
    "kernel-console": {"cmdline-hardening", "sysctl"},
    "runtime-unconfined": {"unit-sandbox", "setuid"},
}


@pytest.fixture(scope="module")
def report(debug_built: Build) -> Report:
    with audited.opened(debug_built.directory) as looked_at:
        return engine.audit(looked_at, audited.read_policy(None))


@pytest.fixture(scope="module")
def openings() -> dict[str, dict[str, list[str]]]:
    loaded = yaml.safe_load((project.root() / FOLDER / "openings.yaml").read_text("utf-8"))
    return {opening["id"]: opening for opening in loaded["openings"]}


@pytest.mark.parametrize("opening", sorted(FOUND))
def test_the_audit_finds_the_opening(report: Report, opening: str) -> None:
    assert FOUND[opening] <= {finding.rule for finding in report.findings}


def test_every_opening_names_rules_and_files_that_there_are(
    openings: dict[str, dict[str, list[str]]],
) -> None:
    rules = {rule.id for rule in operator_access.read().rules}
    assert set(FOUND) <= openings.keys()
    for opening in openings.values():
        assert set(opening["rules"]) <= rules, opening["id"]
        missing = [name for name in opening["files"] if not (project.root() / FOLDER / name).exists()]
        assert missing == [], opening["id"]


def test_it_is_another_image_and_says_so(debug_built: Build, report: Report) -> None:
    assert manifest.decode(debug_built.path("measurements.json").read_bytes()).image.id == "mantlet-debug"
    assert debug_built.directory.name.startswith("mantlet-debug_")
    assert report.image == "mantlet-debug"


@pytest.mark.parametrize("artefact", ["uki.efi", "OVMF_VARS.fd", "disk.raw"])
def test_it_bears_certificates_of_the_debug_keys_and_none_of_the_releases(
    debug_built: Build, artefact: str
) -> None:
    content = debug_built.path(artefact).read_bytes()
    assert der(Profile.DEBUG.keys().folder / "db.pem") in content
    release = project.key_folder()
    KeyFolder(release).secure_boot()
    assert [name for name in ("PK", "KEK", "db") if der(release / f"{name}.pem") in content] == []


def test_nothing_of_it_is_in_the_recipe_of_the_sealed_image(tmp_path: Path) -> None:
    rendered = tmp_path / "recipe"
    image.render(rendered, name=recipe.version(project.root()), keys=KeyFolder(project.key_folder()))
    assert not (rendered / "debug").exists()
    ours = {
        path.relative_to(project.root() / FOLDER / "over")
        for path in (project.root() / FOLDER / "over").rglob("*")
        if path.is_file()
    }
    sealed = {path.relative_to(project.root() / "image") for path in (project.root() / "image").rglob("*")}
    assert [path for path in ours - sealed if (rendered / path).exists()] == []
    texts = [path for path in rendered.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(texts) > 50
    assert [path for path in texts if b"mantlet-debug" in path.read_bytes()] == []


def der(path: Path) -> bytes:
    return x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER)
