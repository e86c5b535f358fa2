# SPDX-License-Identifier: Apache-2.0
"""`mantlet release sign`, and `mantlet verify` of a machine against a signed release."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from mantlet.cli import main
from mantlet.edge import release_files
from mantlet.release import manifest as manifests
from mantlet.release import report, statement
from mantlet.release.attack_results import Attack, Verdict
from mantlet_measure import dsse
from tests.authority import Authority
from tests.machine import Machine
from tests.served import Front, served
from tests.unit.release.reports import ATTACKS, attack, report_of

POLICIES = Path(__file__).parents[3] / "policies/appraisal"
DISK = b"no disk that boots"


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    folder = tmp_path / "front"
    folder.mkdir()
    with served(Front(machine=Machine(authority=Authority()), folder=folder)) as front:
        yield front


@pytest.fixture
def folder(front: Front, tmp_path: Path) -> Path:
    """A build folder of the image that the machine runs, and the release key beside it."""
    made = tmp_path / "build"
    made.mkdir()
    (made / "measurements.json").write_bytes(front.machine.manifest)
    (made / "disk.raw").write_bytes(DISK)
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "release.key").write_bytes(private)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "release.pem").write_bytes(public)
    return made


@pytest.fixture
def options(front: Front, tmp_path: Path) -> list[str]:
    """The options of `verify`, but for those that name a release."""
    machine = front.machine
    public = machine.deployment_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    contents = {
        "manifest": machine.manifest,
        "ek-roots": b"".join(item.public_bytes(Encoding.PEM) for item in machine.authority.certificates),
        "deployment-key": public,
    }
    words = ["--policy", str(POLICIES / "test.yaml"), "--timeout", "5"]
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        words += [f"--{name}", str(tmp_path / name)]
    return words


def write_report(folder: Path, *, attacks: tuple[Attack, ...] = ATTACKS) -> None:
    """Write the report on a build folder beside it, had these been the attacks."""
    made = report_of((folder / "measurements.json").read_bytes())
    build, _ = release_files.build_of(folder)
    data = report.encode(dataclasses.replace(made, build=build, attacks=attacks))
    (folder.parent / "report.json").write_bytes(data)


def sign(folder: Path, *words: str) -> int:
    place = folder.parent
    return main(
        [
            *("release", "sign", str(folder), "--report", str(place / "report.json")),
            *("--key", str(place / "release.key"), "--output", str(place / "release.json"), *words),
        ],
        {},
    )


def release_options(place: Path) -> list[str]:
    return [
        *("--release", str(place / "release.json"), "--report", str(place / "report.json")),
        *("--release-key", str(place / "release.pem")),
    ]


def url(front: Front) -> str:
    return f"https://127.0.0.1:{front.port}"


def test_a_machine_that_runs_a_release_is_accepted_and_its_report_is_shown(
    front: Front, folder: Path, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_report(folder)
    assert sign(folder) == 0
    capsys.readouterr()
    words = ["verify", url(front), *options, *release_options(tmp_path)]
    assert main(words, {}) == 0
    lines = capsys.readouterr().out.splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("RELEASED"))
    assert any(line.startswith("ACCEPTED") for line in lines[:place])
    assert "rules     5: 3 kept, 1 open (B01), 1 limits" in lines[place + 2]
    assert "attacks   3: 2 inert, 1 fail-closed" in lines[place + 5]
    assert main([*words, "--json"], {}) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["verdict"] == "accepted"
    assert shown["release"]["rules"]["open"] == ["B01"]
    assert shown["release"]["attacks"]["breach"] == 0
    assert shown["release"]["image"]["id"] == front.machine.deployment.image_id


def test_a_machine_is_not_asked_when_its_release_is_a_strangers(
    front: Front, folder: Path, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_report(folder)
    assert sign(folder) == 0
    stranger = Ed25519PrivateKey.generate().public_key()
    pem = stranger.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "release.pem").write_bytes(pem)
    assert main(["verify", url(front), *options, *release_options(tmp_path)], {}) == 1
    assert "out of 1 trusted keys" in capsys.readouterr().err
    assert front.seen == []


def test_a_machine_is_not_asked_when_its_report_was_exchanged(
    front: Front, folder: Path, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_report(folder)
    assert sign(folder) == 0
    write_report(folder, attacks=ATTACKS[1:])
    assert main(["verify", url(front), *options, *release_options(tmp_path)], {}) == 1
    assert "as the release statement says" in capsys.readouterr().err
    assert front.seen == []


@pytest.mark.parametrize("as_json", [False, True])
def test_a_machine_is_not_asked_when_the_release_is_of_another_manifest(
    front: Front,
    folder: Path,
    options: list[str],
    tmp_path: Path,
    as_json: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    described = manifests.decode(front.machine.manifest)
    other = dataclasses.replace(described, image=dataclasses.replace(described.image, version="9.9.9"))
    (folder / "measurements.json").write_bytes(manifests.encode(other))
    write_report(folder)
    assert sign(folder) == 0
    capsys.readouterr()
    words = ["verify", url(front), *options, *release_options(tmp_path)]
    assert main([*words, "--json"] if as_json else words, {}) == 1
    said = capsys.readouterr()
    if as_json:
        against = [item["what"] for item in json.loads(said.out)["against"]]
    else:
        against = [line for line in said.out.splitlines() if line.startswith("against")]
        assert "error: manifest_sha256 of the manifest: expected" in said.err
    assert len(against) == 2
    assert "9.9.9" in against[1]
    assert front.seen == []


def test_a_release_without_its_report_is_a_usage_error(
    front: Front, folder: Path, options: list[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["verify", url(front), *options, *release_options(tmp_path)[:2]], {})
    assert caught.value.code == 2


def test_sign_names_everything_that_stands_against_a_release_and_writes_nothing(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_report(folder, attacks=(attack("keyboard", Verdict.BREACH, "A01"),))
    assert sign(folder) == 1
    said = capsys.readouterr()
    lines = [line for line in said.out.splitlines() if line.startswith("against")]
    assert [line.split()[1] for line in lines] == ["attack", "rule"]
    assert "and 1 more" in said.err
    assert "hint: close it" in said.err
    assert sign(folder, "--json") == 1
    assert len(json.loads(capsys.readouterr().out)["against"]) == 2
    assert not (tmp_path / "release.json").exists()


def test_sign_refuses_a_build_whose_disk_is_another(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_report(folder)
    (folder / "disk.raw").write_bytes(DISK + b"!")
    assert sign(folder) == 1
    assert "disk_sha256 of the build folder" in capsys.readouterr().err
    assert not (tmp_path / "release.json").exists()


def test_a_waiver_is_signed_and_shown(
    front: Front, folder: Path, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_report(folder, attacks=ATTACKS[:1])
    assert sign(folder) == 1
    assert sign(folder, "--waive", "serial=no serial port here") == 0
    assert "not tried: serial (no serial port here)" in capsys.readouterr().out
    assert main(["verify", url(front), *options, *release_options(tmp_path)], {}) == 0
    assert "not tried: serial (no serial port here)" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["serial", "serial= ", "=because", "Bad Name=because"])
def test_a_waiver_without_a_name_or_a_reason_is_a_usage_error(folder: Path, text: str) -> None:
    with pytest.raises(SystemExit) as caught:
        sign(folder, "--waive", text)
    assert caught.value.code == 2


def test_the_time_of_a_statement_is_the_one_that_is_set_for_the_build(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_report(folder)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1790000000")
    assert sign(folder) == 0
    first = (tmp_path / "release.json").read_bytes()
    assert statement.decode(dsse.decode(first).payload).created == 1_790_000_000
    assert sign(folder, "--json") == 0
    assert (tmp_path / "release.json").read_bytes() == first
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    assert sign(folder) == 1
    assert "SOURCE_DATE_EPOCH: expected seconds since 1970" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["another key", "no key"])
def test_a_release_key_of_another_kind_is_refused(
    folder: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_report(folder)
    other = ec.generate_private_key(ec.SECP256R1())
    pem = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "release.key").write_bytes(pem if kind == "another key" else b"no key")
    assert sign(folder) == 1
    assert "expected an unencrypted Ed25519 private key in PEM" in capsys.readouterr().err
