# SPDX-License-Identifier: Apache-2.0
"""`mantlet release` and `weights rewrap`: what is signed and wrapped anew, and what is refused first."""

import dataclasses
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from mantlet.cli import main
from mantlet.edge.appraisal import read_policy_key_name
from mantlet.release import manifest as manifests
from mantlet.weights.approve import policy_key_public
from mantlet.weights.policy import pcr_policy
from mantlet_measure import approvals, dsse, epoch, sealed
from mantlet_measure.epoch_counter import EpochCounter
from mantlet_measure.evidence import State
from mantlet_measure.pcr import ENFORCED
from tests.authority import Authority
from tests.machine import RUNTIME, Machine
from tests.sealing import Owner

POLICIES = Path(__file__).parents[3] / "policies/appraisal"


@pytest.fixture
def machine() -> Machine:
    """A machine before the cap: its registers are what is approved."""
    made = Machine(authority=Authority())
    made.state, made.capped = State.AWAITING_KEY, False
    return made


@pytest.fixture
def owner(machine: Machine, tmp_path: Path) -> Owner:
    """The owner whose policy key the deployment names."""
    made = Owner()
    made.policy_key = machine.policy_key
    write_key(tmp_path / "policy.pem", made.policy_key)
    (tmp_path / "data.key").write_bytes(made.data_key)
    return made


def write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


@pytest.fixture
def approving(machine: Machine, owner: Owner, tmp_path: Path) -> list[str]:
    """The words that approve the release that the machine runs."""
    public = machine.deployment_key.public_key()
    assert machine.envelope is not None
    contents = {
        "manifest": machine.manifest,
        "ek-roots": b"".join(item.public_bytes(Encoding.PEM) for item in machine.authority.certificates),
        "deployment-key": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "deployment": dsse.encode(machine.envelope),
        "runtime": RUNTIME,
    }
    words = ["release", "approve", "--policy", str(POLICIES / "test.yaml")]
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        words += [f"--{name}", str(tmp_path / name)]
    return [
        *(*words, "--policy-key", str(tmp_path / "policy.pem")),
        *("--output", str(tmp_path / "approvals.json")),
    ]


def test_approve_signs_the_boot_that_the_machine_makes(
    machine: Machine, owner: Owner, approving: list[str], tmp_path: Path
) -> None:
    assert main(approving, {}) == 0
    listed = approvals.decode((tmp_path / "approvals.json").read_bytes())
    (approval,) = listed.approvals
    counter = EpochCounter(policy_key=policy_key_public(owner.policy_key.public_key()))
    assert approval.policy == counter.at_most(1, pcr_policy(machine.registers, ENFORCED))
    assert (approval.epoch, approval.image.version) == (1, machine.deployment.image_version)
    assert listed.policy_ref == f"mantlet/weights/{machine.deployment.model.id}"


def test_approve_keeps_the_approvals_that_there_were(
    machine: Machine, owner: Owner, approving: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    owner.model = dataclasses.replace(owner.model, id=machine.deployment.model.id)
    older = owner.approve({bank: dict.fromkeys(ENFORCED, bytes(bank.size)) for bank in machine.registers})
    (tmp_path / "older.json").write_bytes(approvals.encode(older))
    assert main([*approving, "--add-to", str(tmp_path / "older.json"), "--json"], {}) == 0
    assert json.loads(capsys.readouterr().out)["approvals"] == 2
    listed = approvals.decode((tmp_path / "approvals.json").read_bytes())
    assert listed.approvals[1:] == older.approvals


def test_approve_signs_nothing_for_an_image_without_an_epoch(
    machine: Machine, approving: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release = manifests.decode(machine.manifest)
    bare = manifests.encode(dataclasses.replace(release, image=dataclasses.replace(release.image, epoch=0)))
    (tmp_path / "manifest").write_bytes(bare)
    assert main(approving, {}) == 1
    assert "expected one for this manifest" in capsys.readouterr().err
    assert not (tmp_path / "approvals.json").exists()


def test_approve_signs_nothing_with_a_policy_key_that_the_deployment_does_not_name(
    machine: Machine, approving: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_key(tmp_path / "policy.pem", ec.generate_private_key(ec.SECP256R1()))
    assert main(approving, {}) == 1
    assert f"expected {machine.deployment.policy_key.hex()}" in capsys.readouterr().err
    assert not (tmp_path / "approvals.json").exists()


def test_raise_signs_a_statement(owner: Owner, tmp_path: Path) -> None:
    words = ["release", "epoch", "raise", "7", "--policy-key", str(tmp_path / "policy.pem")]
    assert main([*words, "--output", str(tmp_path / "epoch.json")], {}) == 0
    statement = epoch.decode((tmp_path / "epoch.json").read_bytes())
    counter = EpochCounter(policy_key=policy_key_public(owner.policy_key.public_key()))
    assert (statement.epoch, statement.policy) == (7, counter.below(7))


@pytest.mark.parametrize("number", ["0", "-1", "4294967296", "one"])
def test_raise_to_what_is_no_epoch_is_a_usage_error(owner: Owner, tmp_path: Path, number: str) -> None:
    words = ["release", "epoch", "raise", number, "--policy-key", str(tmp_path / "policy.pem")]
    with pytest.raises(SystemExit) as caught:
        main([*words, "--output", str(tmp_path / "epoch.json")], {})
    assert caught.value.code == 2
    assert not (tmp_path / "epoch.json").exists()


@pytest.fixture
def rewrapping(machine: Machine, owner: Owner, tmp_path: Path) -> list[str]:
    """The words that wrap a sealed key anew, for the machine's own storage root key."""
    srk = machine.evidence(bytes(32), bytes(32)).srk.public
    (tmp_path / "srk").write_bytes(srk)
    (tmp_path / "sealed.json").write_bytes(sealed.encode(owner.seal(srk)))
    return [
        *("weights", "rewrap", str(tmp_path / "sealed.json"), "--key", str(tmp_path / "data.key")),
        *("--srk", str(tmp_path / "srk"), "--policy-key", str(tmp_path / "policy.pem")),
        *("--output", str(tmp_path / "new.json")),
    ]


@pytest.mark.parametrize("same", [True, False], ids=["the same policy key", "another policy key"])
def test_rewrap_makes_another_sealed_key_of_the_same_data_key(
    rewrapping: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], same: bool
) -> None:
    if not same:
        write_key(tmp_path / "policy.pem", ec.generate_private_key(ec.SECP256R1()))
    assert main([*rewrapping, "--json"], {}) == 0
    assert json.loads(capsys.readouterr().out)["approvals_hold"] is same
    before = sealed.decode((tmp_path / "sealed.json").read_bytes())
    after = sealed.decode((tmp_path / "new.json").read_bytes())
    assert (after.model, after.root_hash, after.key_id) == (before.model, before.root_hash, before.key_id)
    assert after.duplicate != before.duplicate
    assert (after.policy_key == before.policy_key) is same


def test_rewrap_refuses_the_key_of_another_pack(
    rewrapping: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data.key").write_bytes(bytes(32))
    assert main(rewrapping, {}) == 1
    assert "as the sealed key says" in capsys.readouterr().err
    assert not (tmp_path / "new.json").exists()


@pytest.mark.parametrize("option", ["--sealed-key", "--approvals"])
def test_deploy_takes_a_sealed_key_and_approvals_together_only(tmp_path: Path, option: str) -> None:
    (tmp_path / "half.json").write_bytes(b"{}")
    words = ["deploy", "--id", "x", "--pack", "none", "--output", str(tmp_path / "volume.raw")]
    with pytest.raises(SystemExit) as caught:
        main([*words, option, str(tmp_path / "half.json")], {})
    assert caught.value.code == 2


@pytest.fixture
def deploying(machine: Machine, owner: Owner, tmp_path: Path) -> list[str]:
    """The words that deploy under the owner's policy key; there is no pack."""
    public = owner.policy_key.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "policy.pub").write_bytes(pem)
    return [
        *("deploy", "--id", "x", "--pack", str(tmp_path / "none"), "--output", str(tmp_path / "volume.raw")),
        *("--policy-key", str(tmp_path / "policy.pub")),
    ]


def test_deploy_puts_nothing_of_another_policy_key_on_the_volume(
    machine: Machine, deploying: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = Owner().provide(machine.evidence(bytes(32), bytes(32)).srk.public, machine.registers)
    contents = {
        "--sealed-key": sealed.encode(given.sealed_key),
        "--approvals": approvals.encode(given.approvals),
    }
    words = []
    for option, content in contents.items():
        (tmp_path / option).write_bytes(content)
        words += [option, str(tmp_path / option)]
    assert main([*deploying, *words], {}) == 1
    assert f"the policy key {machine.deployment.policy_key.hex()}" in capsys.readouterr().err
    (tmp_path / "epoch").write_bytes(epoch.encode(Owner().raise_epoch(2)))
    assert main([*deploying, "--epoch-statement", str(tmp_path / "epoch")], {}) == 1
    assert "--epoch-statement: expected" in capsys.readouterr().err


@pytest.mark.parametrize("private", [True, False])
def test_a_policy_key_is_named_by_either_half(
    machine: Machine, deploying: list[str], tmp_path: Path, private: bool
) -> None:
    path = tmp_path / ("policy.pem" if private else "policy.pub")
    assert read_policy_key_name(path) == machine.deployment.policy_key


@pytest.mark.parametrize(
    "content",
    [
        b"something else",
        Ed25519PrivateKey.generate()
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        ec.generate_private_key(ec.SECP384R1())
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    ],
    ids=["no key", "Ed25519", "P-384"],
)
def test_deploy_names_no_policy_key_of_another_kind(
    deploying: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    (tmp_path / "policy.pub").write_bytes(content)
    assert main(deploying, {}) == 1
    assert "policy key" in capsys.readouterr().err
