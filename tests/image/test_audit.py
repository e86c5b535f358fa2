# SPDX-License-Identifier: Apache-2.0
"""The audit of the production image and its recipe: no finding, each exception in use and with its reason."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mantlet.audit import engine
from mantlet.audit.finding import Policy, Report, Severity
from mantlet.audit.image import Image, Signature
from mantlet.cli import main
from mantlet.edge import audited, project
from mantlet.edge.image import Build

RECIPE = project.root() / "image"


@pytest.fixture(scope="module")
def looked_at(built: Build) -> Iterator[tuple[Image, Report, Report]]:
    """The image, what is said of it with our policy, and what without."""
    with audited.opened(built.directory, RECIPE) as image:
        yield image, engine.audit(image, audited.read_policy(None)), engine.audit(image, Policy())


def test_the_production_image_has_no_finding(looked_at: tuple[Image, Report, Report]) -> None:
    _, ours, _ = looked_at
    assert [(item.rule, item.subject, item.found) for item in ours.findings] == []


def test_what_exceptions_explain_is_no_way_in_that_is_wide_open(
    looked_at: tuple[Image, Report, Report],
) -> None:
    _, ours, _ = looked_at
    assert ours.explained
    assert [item.finding.subject for item in ours.explained if item.finding.severity is Severity.HIGH] == []
    assert all(len(item.reason) > 40 for item in ours.explained)


def test_without_our_policy_nothing_but_what_it_explains_is_found(
    looked_at: tuple[Image, Report, Report],
) -> None:
    _, ours, plain = looked_at
    assert {item.finding for item in ours.explained} >= set(plain.findings)


def test_each_signature_of_the_image_was_verified(looked_at: tuple[Image, Report, Report]) -> None:
    image, _, _ = looked_at
    (kernel,) = image.kernels
    (volume,) = image.volumes
    assert (kernel.signature, kernel.refused) == (Signature.SOUND, "")
    assert (volume.signature, volume.signed) == (Signature.SOUND, volume.computed)
    assert volume.signer == kernel.signers[0].subject.rfc4514_string()
    # Debian's, made with the kernel: what it loads as modules must be signed by it.
    assert len(kernel.trusted) == 1


def test_the_kernel_is_the_one_whose_configuration_the_image_holds(
    looked_at: tuple[Image, Report, Report],
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
