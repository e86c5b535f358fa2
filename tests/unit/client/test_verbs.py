# SPDX-License-Identifier: Apache-2.0
"""`mantlet verify`, `ask` and `weights seal` against a simulated machine behind real TLS: output and exit
codes.

The time is the real one, so the certificates of the simulated manufacturer must be valid now.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from mantlet.cli import main
from mantlet.edge.owner import signing_key, write_descriptor
from mantlet.weights.descriptor import Descriptor
from mantlet.weights.policy import pcr_policy
from mantlet_measure import approvals, dsse, handover, sealed
from mantlet_measure.approvals import Approval, Approvals, Image
from mantlet_measure.deployment import Model
from mantlet_measure.disk_key import key_id
from mantlet_measure.epoch_counter import EpochCounter
from mantlet_measure.evidence import State
from mantlet_measure.pcr import ENFORCED
from tests.authority import Authority
from tests.machine import RUNTIME, Machine
from tests.served import DELTAS, Front, served

POLICIES = Path(__file__).parents[3] / "policies/appraisal"


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    folder = tmp_path / "front"
    folder.mkdir()
    with served(Front(machine=Machine(authority=Authority()), folder=folder)) as front:
        yield front


@pytest.fixture
def options(front: Front, tmp_path: Path) -> list[str]:
    """The options that name what a relying party has from the release."""
    machine = front.machine
    public = machine.deployment_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    other = Ed25519PrivateKey.generate().public_key()
    contents = {
        "manifest": machine.manifest,
        "ek-roots": b"".join(item.public_bytes(Encoding.PEM) for item in machine.authority.certificates),
        "deployment-key": other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo) + public,
    }
    words = ["--policy", str(POLICIES / "test.yaml"), "--timeout", "5"]
    for name, content in contents.items():
        path = tmp_path / name
        path.write_bytes(content)
        words += [f"--{name}", str(path)]
    return words


@pytest.fixture
def sealing(front: Front, tmp_path: Path) -> list[str]:
    """The options that name the model owner's files."""
    policy_key = front.machine.policy_key
    owner = Ed25519PrivateKey.generate()
    (tmp_path / "owner.key").write_bytes(
        owner.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    write_descriptor(tmp_path / "tiny.json", descriptor_of(front.machine.deployment.model), key=owner)
    (tmp_path / "tiny.key").write_bytes(bytes(range(32)))
    (tmp_path / "policy.pem").write_bytes(
        policy_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    return [
        *("--pack", str(tmp_path / "tiny.json"), "--key", str(tmp_path / "tiny.key")),
        *("--policy-key", str(tmp_path / "policy.pem"), "--owner-key", str(tmp_path / "owner.key")),
    ]


def descriptor_of(model: Model) -> Descriptor:
    return Descriptor(model=model, ciphertext_sha256=bytes(32), key_id=key_id(bytes(range(32))))


def approval_of(listed: Approvals, machine: Machine) -> Approval:
    """The approval that a document must hold for the registers of a machine, whatever its signature."""
    boot = pcr_policy(machine.registers, ENFORCED)
    policy = EpochCounter(policy_key=listed.policy_key).at_most(1, boot)
    image = Image(id=machine.deployment.image_id, version=machine.deployment.image_version)
    return Approval(policy=policy, epoch=1, signature=listed.approvals[0].signature, image=image)


def url(front: Front) -> str:
    return f"https://127.0.0.1:{front.port}"


def test_verify_accepts_with_0_and_prints_the_verdict(
    front: Front, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", url(front), *options], {}) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("TEST POLICY: the TPM is software")
    assert sum(1 for line in lines if "  pass  " in line) == 11
    assert any(line.startswith("ACCEPTED") for line in lines)
    assert "It does not prove:" in lines


def test_verify_refuses_with_1_and_prints_every_step(
    front: Front, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    front.machine.capped = False
    assert main(["verify", url(front), *options], {}) == 1
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0].startswith("TEST POLICY")
    assert sum(1 for line in lines if "  pass  " in line) == 8
    assert any(line.startswith("  9  REFUSE") for line in lines)
    assert lines[-1] == "REFUSED   at step 9"
    assert "\nerror: step 9" in captured.err
    assert "\nhint: " in captured.err


def test_verify_says_3_when_nobody_answers(
    front: Front, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", "https://machine.invalid:1", *options], {}) == 3
    assert capsys.readouterr().out == ""


def test_verify_says_2_to_a_url_that_is_none(options: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["verify", "http://127.0.0.1", *options], {})
    assert caught.value.code == 2


def test_verify_takes_its_options_from_the_environment(front: Front, options: list[str]) -> None:
    names = [f"MANTLET_{word[2:].replace('-', '_').upper()}" for word in options[::2]]
    assert main(["verify", url(front)], dict(zip(names, options[1::2], strict=True))) == 0


@pytest.mark.parametrize(("capped", "code"), [(True, 0), (False, 1)])
def test_verify_writes_one_json_document(
    front: Front, options: list[str], capsys: pytest.CaptureFixture[str], capped: bool, code: int
) -> None:
    front.machine.capped = capped
    assert main(["verify", url(front), *options, "--json"], {}) == code
    value = json.loads(capsys.readouterr().out)
    assert value["verdict"] == ("accepted" if capped else "refused")
    if capped:
        assert value["policy_key"] == front.machine.deployment.policy_key.hex()
    assert len(value["steps"]) == 11


def test_the_default_policy_refuses_this_software_tpm(front: Front, options: list[str]) -> None:
    words = [str(POLICIES / "default.yaml") if word.endswith("test.yaml") else word for word in options]
    assert main(["verify", url(front), *words], {}) == 1


@pytest.mark.parametrize("name", ["ek-roots", "deployment-key", "manifest"])
def test_a_file_of_the_release_that_is_something_else_is_refused_before_anything_is_asked(
    front: Front, options: list[str], tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_bytes(b"something else")
    assert main(["verify", url(front), *options], {}) == 1


@pytest.mark.parametrize("text", ["a: 1\na: 2\n", "a: &x 1\nb: *x\n", "a: [", "!!python/object:x {}\n"])
def test_a_policy_in_loose_yaml_is_refused(
    front: Front, options: list[str], tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "loose.yaml"
    path.write_text(text)
    words = [str(path) if word.endswith("test.yaml") else word for word in options]
    assert main(["verify", url(front), *words], {}) == 1
    assert "expected strict YAML" in capsys.readouterr().err
    assert front.seen == []


def test_ask_prints_the_answer_and_nothing_else_to_stdout(
    front: Front, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ask", url(front), "What is 2 + 2?", *options, "--max-tokens", "16"], {}) == 0
    captured = capsys.readouterr()
    assert captured.out == "".join(DELTAS) + "\n"
    assert "TEST POLICY" in captured.err
    body = json.loads(front.bodies[-1])
    assert (body["model"], body["max_tokens"]) == ("tiny", 16)
    assert front.connections == 1


def test_ask_sends_no_prompt_to_a_machine_that_is_refused(front: Front, options: list[str]) -> None:
    front.machine.capped = False
    assert main(["ask", url(front), "the secret prompt", *options], {}) == 1
    assert not any(b"the secret prompt" in body for body in front.bodies)


def test_ask_writes_answer_and_verdict_as_json(
    front: Front, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ask", url(front), "What is 2 + 2?", *options, "--json"], {}) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["answer"] == "".join(DELTAS)
    assert value["verification"]["verdict"] == "accepted"


def test_seal_hands_a_verified_machine_a_key_for_its_own_registers(
    front: Front, options: list[str], sealing: list[str]
) -> None:
    front.machine.state, front.machine.capped = State.AWAITING_KEY, False
    where = f"127.0.0.1:{front.port}"
    assert main(["weights", "seal", "--to", where, *sealing, *options], {}) == 0
    given = handover.decode(front.bodies[-1])
    assert given.sealed_key.model == "tiny"
    assert given.approvals.approvals == (approval_of(given.approvals, front.machine),)


def test_seal_gives_nothing_to_a_machine_that_is_refused(
    front: Front, options: list[str], sealing: list[str]
) -> None:
    front.machine.state = State.AWAITING_KEY
    assert main(["weights", "seal", "--to", f"127.0.0.1:{front.port}", *sealing, *options], {}) == 1
    assert "/.well-known/mantlet/sealed-key" not in front.seen


def test_seal_gives_nothing_for_a_pack_that_is_not_deployed(
    front: Front, options: list[str], sealing: list[str], tmp_path: Path
) -> None:
    front.machine.state, front.machine.capped = State.AWAITING_KEY, False
    other = descriptor_of(dataclasses.replace(front.machine.deployment.model, root_hash=bytes(32)))
    write_descriptor(tmp_path / "tiny.json", other, key=signing_key(tmp_path / "owner.key"))
    assert main(["weights", "seal", "--to", f"127.0.0.1:{front.port}", *sealing, *options], {}) == 1
    assert "/.well-known/mantlet/sealed-key" not in front.seen


def test_seal_gives_nothing_for_a_descriptor_that_a_stranger_signed(
    front: Front,
    options: list[str],
    sealing: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    front.machine.state, front.machine.capped = State.AWAITING_KEY, False
    descriptor = descriptor_of(front.machine.deployment.model)
    write_descriptor(tmp_path / "tiny.json", descriptor, key=Ed25519PrivateKey.generate())
    assert main(["weights", "seal", "--to", f"127.0.0.1:{front.port}", *sealing, *options], {}) == 1
    assert "expected 1 signatures out of 1 trusted keys" in capsys.readouterr().err
    assert front.seen == []


def test_seal_gives_nothing_under_a_policy_key_that_the_deployment_does_not_name(
    front: Front,
    options: list[str],
    sealing: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    front.machine.state, front.machine.capped = State.AWAITING_KEY, False
    other = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "policy.pem").write_bytes(
        other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    assert main(["weights", "seal", "--to", f"127.0.0.1:{front.port}", *sealing, *options], {}) == 1
    expected = front.machine.deployment.policy_key.hex()
    assert f"policy key: expected {expected}, as the deployment document says" in capsys.readouterr().err
    assert "/.well-known/mantlet/sealed-key" not in front.seen


@pytest.mark.parametrize(
    "content",
    [
        b"something else",
        Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        ec.generate_private_key(ec.SECP384R1()).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        ),
    ],
    ids=["no key", "Ed25519", "P-384"],
)
def test_seal_takes_no_policy_key_of_another_kind(
    front: Front, options: list[str], sealing: list[str], tmp_path: Path, content: bytes
) -> None:
    front.machine.state, front.machine.capped = State.AWAITING_KEY, False
    (tmp_path / "policy.pem").write_bytes(content)
    assert main(["weights", "seal", "--to", f"127.0.0.1:{front.port}", *sealing, *options], {}) == 1
    assert "/.well-known/mantlet/sealed-key" not in front.seen


def test_a_deployment_key_of_another_kind_is_refused(
    front: Front, options: list[str], tmp_path: Path
) -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    content = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "deployment-key").write_bytes(content)
    assert main(["verify", url(front), *options], {}) == 1
    assert front.seen == []


def test_seal_offline_makes_the_key_that_seal_online_makes(
    front: Front, options: list[str], sealing: list[str], tmp_path: Path
) -> None:
    machine = front.machine
    machine.state, machine.capped = State.AWAITING_KEY, False
    assert machine.envelope is not None
    (tmp_path / "deployment").write_bytes(dsse.encode(machine.envelope))
    (tmp_path / "runtime.json").write_bytes(RUNTIME)
    (tmp_path / "srk").write_bytes(machine.evidence(bytes(32), bytes(32)).srk.public)
    offline = [
        *("--srk", str(tmp_path / "srk"), "--output", str(tmp_path / "sealed.json")),
        *("--approvals", str(tmp_path / "approvals.json")),
        *("--deployment", str(tmp_path / "deployment"), "--runtime", str(tmp_path / "runtime.json")),
    ]
    assert main(["weights", "seal", *offline, *sealing, *options], {}) == 0
    key = sealed.decode((tmp_path / "sealed.json").read_bytes())
    assert key.key_id == key_id(bytes(range(32)))
    listed = approvals.decode((tmp_path / "approvals.json").read_bytes())
    assert listed.approvals == (approval_of(listed, machine),)
    assert front.seen == []


def test_seal_offline_for_a_deployment_of_another_manifest_is_refused(
    front: Front, options: list[str], sealing: list[str], tmp_path: Path
) -> None:
    machine = front.machine
    assert machine.envelope is not None
    (tmp_path / "deployment").write_bytes(dsse.encode(machine.envelope))
    (tmp_path / "runtime.json").write_bytes(RUNTIME)
    other = Machine(authority=Authority(), system=machine.system[:-1])
    (tmp_path / "manifest").write_bytes(other.manifest)
    assert hashlib.sha256(other.manifest).digest() != machine.deployment.manifest_sha256
    offline = ["--srk", str(tmp_path / "none"), "--output", str(tmp_path / "sealed.json")]
    offline += ["--approvals", str(tmp_path / "approvals.json")]
    documents = ["--deployment", str(tmp_path / "deployment"), "--runtime", str(tmp_path / "runtime.json")]
    assert main(["weights", "seal", *offline, *documents, *sealing, *options], {}) == 1
    assert not (tmp_path / "sealed.json").exists()


def test_seal_offline_without_its_documents_is_a_usage_error(
    options: list[str], sealing: list[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["weights", "seal", "--srk", str(tmp_path / "srk"), *sealing, *options], {})
    assert caught.value.code == 2
