# SPDX-License-Identifier: Apache-2.0
"""The audit of the production image and its recipe: no finding, each exception in use and with its reason."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mantlet.audit import engine
from mantlet.audit.finding import Policy, Report, Severity
from mantlet.audit.image import Image as Audited
from mantlet.audit.image import Signature
from mantlet.cli import main
from mantlet.edge import audited, project
from mantlet.edge.image import Build
from mantlet.release import manifest
from mantlet.weights.approve import approve, boot_policy
from mantlet_measure import approvals, dsse
from mantlet_measure.approvals import Image
from mantlet_measure.pcr import BANKS, ENFORCED, extend
from mantlet_measure.words import agent_events
from tests.authority import Authority
from tests.machine import RUNTIME, RUNTIME_SHA256, Machine

RECIPE = project.root() / "image"


@pytest.fixture(scope="module")
def looked_at(built: Build) -> Iterator[tuple[Audited, Report, Report]]:
    """The image, what is said of it with our policy, and what without."""
    with audited.opened(built.directory, RECIPE) as image:
        yield image, engine.audit(image, audited.read_policy(None)), engine.audit(image, Policy())


def test_the_production_image_has_no_finding(looked_at: tuple[Audited, Report, Report]) -> None:
    _, ours, _ = looked_at
    assert [(item.rule, item.subject, item.found) for item in ours.findings] == []


def test_what_exceptions_explain_is_no_way_in_that_is_wide_open(
    looked_at: tuple[Audited, Report, Report],
) -> None:
    _, ours, _ = looked_at
    assert ours.explained
    assert [item.finding.subject for item in ours.explained if item.finding.severity is Severity.HIGH] == []
    assert all(len(item.reason) > 40 for item in ours.explained)


def test_without_our_policy_nothing_but_what_it_explains_is_found(
    looked_at: tuple[Audited, Report, Report],
) -> None:
    _, ours, plain = looked_at
    assert {item.finding for item in ours.explained} >= set(plain.findings)


def test_each_signature_of_the_image_was_verified(looked_at: tuple[Audited, Report, Report]) -> None:
    image, _, _ = looked_at
    (kernel,) = image.kernels
    (volume,) = image.volumes
    assert (kernel.signature, kernel.refused) == (Signature.SOUND, "")
    assert (volume.signature, volume.signed) == (Signature.SOUND, volume.computed)
    assert volume.signer == kernel.signers[0].subject.rfc4514_string()
    # Debian's, made with the kernel: what it loads as modules must be signed by it.
    assert len(kernel.trusted) == 1


def test_the_kernel_is_the_one_whose_configuration_the_image_holds(
    looked_at: tuple[Audited, Report, Report],
) -> None:
    image, _, _ = looked_at
    text = image.trees[0].text(f"/usr/lib/modules/{image.kernels[0].release}/config")
    assert "CONFIG_SECURITY_IPE=y" in text


def test_the_verb_ends_with_zero(built: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    words = ["audit", str(built.directory), "--recipe", str(RECIPE), "--html", str(page), "--json"]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["findings"] == []
    assert "No findings" in page.read_text("utf-8")


@pytest.mark.parametrize(
    ("left_out", "subject"), [((), None), ((12,), "PCR 12")], ids=["whole", "without 12"]
)
def test_an_approval_of_the_built_image_is_looked_at(
    built: Build,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    left_out: tuple[int, ...],
    subject: str | None,
) -> None:
    data = (built.directory / "measurements.json").read_bytes()
    described = manifest.decode(data)
    deployed = Machine(authority=Authority(), manifest=data)
    assert deployed.envelope is not None
    (tmp_path / "deployment").write_bytes(dsse.encode(deployed.envelope))
    (tmp_path / "runtime").write_bytes(RUNTIME)
    words = agent_events(
        deployment_sha256=hashlib.sha256(deployed.envelope.payload).digest(),
        runtime_sha256=RUNTIME_SHA256,
        root_hash=deployed.deployment.model.root_hash,
        capped=False,
    )
    (platform,) = described.platforms.values()
    boot = {bank: {number: item.value for number, item in platform.banks[bank].items()} for bank in BANKS}
    for bank, values in boot.items():
        for word in words:
            values[15] = extend(bank, values[15], word.digests[bank])
    named = Image(id=described.image.id, version=described.image.version)
    made = approve(boot, model_id="tiny", epoch=1, image=named, policy_key=deployed.policy_key)
    registers = [register for register in ENFORCED if register not in left_out]
    policy = boot_policy(boot, registers, epoch=1, policy_key=made.policy_key)
    made = replace(made, approvals=(replace(made.approvals[0], policy=policy),))
    (tmp_path / "approvals").write_bytes(approvals.encode(made))
    options = ("approvals", "deployment", "runtime")
    given = [word for name in options for word in (f"--{name}", str(tmp_path / name))]
    assert main(["audit", str(built.directory), *given, "--json"], {}) == (0 if subject is None else 1)
    told = json.loads(capsys.readouterr().out)
    assert told["looked_at"]["approvals"] == 1
    called = f"approval 1 of {named.id} {named.version}"
    assert [item["subject"] for item in told["findings"]] == ([f"{called} {subject}"] if subject else [])


def test_approvals_without_their_deployment_are_a_usage_error(built: Build, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["audit", str(built.directory), "--approvals", str(tmp_path / "approvals")], {})
    assert caught.value.code == 2
