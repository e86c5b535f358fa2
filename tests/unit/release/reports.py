# SPDX-License-Identifier: Apache-2.0
"""A small report that nothing stands against, made for a manifest, and the parts to alter it by."""

import hashlib

from mantlet.release import manifest as manifests
from mantlet.release import report as reports
from mantlet.release.attack_results import Attack, Control, Verdict
from mantlet.release.audit_results import AuditResults, Finding
from mantlet.release.build import Build
from mantlet.release.report import Promise, Report
from tests.unit.release.samples import MANIFEST

MANIFEST_BYTES = manifests.encode(MANIFEST)
RULES = (
    Promise(id="A01", title="Login", kind="closed", status="kept", check="getty", attack="keyboard"),
    Promise(id="A02", title="Serial", kind="closed", status="kept", check="getty", attack="serial"),
    Promise(id="B01", title="Swap", kind="measured", status="open", check=None, attack="swap"),
    Promise(id="B02", title="Words", kind="closed", status="kept", check="words", attack=None),
    Promise(id="P01", title="Memory", kind="limit", status=None, check=None, attack=None),
)
EXPLAINED = Finding(
    rule="words",
    severity="low",
    subject="/a|b",
    expected="nothing",
    found="a word",
    hint="remove it",
    reason="nobody reads it",
)
VERSIONS = {"firmware": "OVMF 2026.08", "mantlet": "0.1.0", "qemu": "11.0.0", "swtpm": "0.10.1"}


def attack(name: str, verdict: Verdict, *rules: str, control: Verdict | None = Verdict.BREACH) -> Attack:
    """An attack with a working control, unless told otherwise."""
    return Attack(
        id=name,
        title=f"Try {name}",
        rules=rules,
        verdict=verdict,
        control=Control(kind="weakened-build", verdict=control, facts=("ended: serving",)),
        reasons=() if verdict.shows_something else (f"reason of {name}",),
        facts=("ended: off",),
    )


ATTACKS = (
    attack("keyboard", Verdict.INERT, "A01"),
    attack("serial-break", Verdict.FAIL_CLOSED, "A02"),
    attack("serial-keys", Verdict.INERT, "A01", "A02"),
)


def build_of(manifest: bytes) -> Build:
    """The build that a manifest describes."""
    image = manifests.decode(manifest).image
    return Build(
        manifest_sha256=hashlib.sha256(manifest).digest(),
        uki_sha256=image.uki_sha256,
        roothash=image.roothash,
        disk_sha256=b"\x0d" * 32,
    )


def report_of(manifest: bytes = MANIFEST_BYTES) -> Report:
    """A report on the image of a manifest."""
    described = manifests.decode(manifest)
    return Report(
        image=reports.image_of(described.image),
        build=build_of(manifest),
        registers=reports.registers_of(described),
        versions=VERSIONS,
        weakened_sha256=bytes(32),
        rules=RULES,
        audit=AuditResults(
            image=described.image.id,
            looked_at={"UKIs": 1},
            checks={"getty": "No getty.", "words": "No word."},
            findings=(EXPLAINED,),
        ),
        attacks=ATTACKS,
    )
