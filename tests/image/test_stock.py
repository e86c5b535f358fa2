# SPDX-License-Identifier: Apache-2.0
"""Debian as mkosi makes it, built in this run from a recipe that closes nothing, has its well-known ways in.

The image is somebody else's as far as the audit goes: ext4, no verity, systemd-boot, mkosi's own initrd.
"""

import shutil
from pathlib import Path

import pytest

from mantlet.audit import engine
from mantlet.audit.finding import Finding, Report
from mantlet.edge import audited, image, mirror, recipe
from mantlet.edge.tools import ToolsTree

RECIPE = Path(__file__).parent / "stock"
SOURCES = "mkosi.sandbox/etc/apt/sources.list.d/mkosi.sources"
# For each rule, something that stock Debian has, by a part of the subject.
KNOWN = {
    "allow-list": (),
    "autologin": ("console-getty.service.d/", "serial-getty@hvc0.service.d/"),
    "cmdline-hardening": (
        "console", "lockdown", "module.sig_enforce", "systemd.import_credentials", "systemd.gpt_auto",
        "systemd.getty_auto", "systemd.ssh_auto", "nohibernate", "panic",
    ),
    "core-dumps": ("kernel.core_pattern", "DefaultLimitCORE"),
    "credential-import": ("root:getty@.service agetty.*", "root:systemd-sysctl.service sysctl.*"),
    "credential-stores": ("root:/usr/lib/tmpfiles.d/provision.conf",),
    "debug-shell": ("root:/usr/lib/systemd/system/debug-shell.service", "initrd:", "systemd-debug-generator"),
    "emergency-shell": ("root:/usr/lib/systemd/system/emergency.target", "initrd:", "rescue.service"),
    "esp-files": ("/loader/loader.conf",),
    "esp-programs": ("/EFI/systemd/systemd-bootx64.efi",),
    "execution-policy": ("initrd",),
    "generators": ("systemd-run-generator", "systemd-fstab-generator", "systemd-hibernate-resume-generator"),
    "getty": ("root:/usr/lib/systemd/system/getty@.service", "systemd-getty-generator", "initrd:"),
    "gpt-auto": ("root:/usr/lib/systemd/system-generators/systemd-gpt-auto-generator", "initrd:"),
    "kernel-configuration": ("CONFIG_HIBERNATION", "CONFIG_MAGIC_SYSRQ", "CONFIG_MODULE_SIG_FORCE"),
    "listening-sockets": ("ssh.socket",),
    "login-programs": ("root:/usr/bin/su", "root:/usr/sbin/agetty"),
    "login-shells": ("root:/etc/passwd root",),
    "opening-modules": ("qemu_fw_cfg", "vsock"),
    "package-managers": ("root:/usr/bin/dpkg",),
    "pam": ("root:/etc/pam.d/sshd",),
    "passwords": (),
    "presets": ("root:getty@.service",),
    "remote-access": ("root:/usr/sbin/sshd",),
    "serial-getty": ("root:/usr/lib/systemd/system/serial-getty@.service",),
    "setuid": ("root:/usr/bin/su", "root:/usr/bin/mount"),
    "shells": ("root:/usr/bin/bash", "initrd:/usr/bin/bash"),
    "ssh-generator": ("systemd-ssh-generator",),
    "sysctl": ("kernel.kptr_restrict",),
    "uki-signature": (".efi",),
    "unit-sandbox": ("root:ssh.service",),
    "verity-root-hash": (".efi",),
    "verity-signature": ("root",),
}  # fmt: skip


@pytest.fixture(scope="session")
def stock(tools: ToolsTree, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """What the audit says of the stock image, without any policy of ours."""
    folder = tmp_path_factory.mktemp("stock")
    rendered = folder / "recipe"
    shutil.copytree(RECIPE, rendered)
    source = mirror.find(recipe.suite(RECIPE.parents[2]))
    sources = rendered / SOURCES
    sources.parent.mkdir(parents=True)
    sources.write_text(
        f"Types: deb\nURIs: {source.uri}\nSuites: {source.suite}\nComponents: main\n"
        f"Signed-By: {mirror.KEYRING}\n"
    )
    image.run_mkosi(rendered, folder / "built", tools=tools, log=folder / "mkosi.log")
    disk = folder / "built/disk.raw"
    try:
        with audited.opened(disk) as looked_at:
            # Our own policy, which speaks of our own image alone.
            return engine.audit(looked_at, audited.read_policy(None))
    finally:
        shutil.rmtree(folder / "built")


def subjects(report: Report, rule: str) -> list[str]:
    return [finding.subject for finding in report.findings if finding.rule == rule]


@pytest.mark.parametrize(("rule", "known"), [(rule, part) for rule, parts in KNOWN.items() for part in parts])
def test_the_stock_image_has_what_stock_debian_is_known_for(stock: Report, rule: str, known: str) -> None:
    assert any(known in subject for subject in subjects(stock, rule)), subjects(stock, rule)


@pytest.mark.parametrize("rule", [rule for rule, parts in KNOWN.items() if not parts])
def test_the_stock_image_is_not_accused_of_what_it_keeps(stock: Report, rule: str) -> None:
    assert subjects(stock, rule) == []


def test_a_policy_of_ours_explains_nothing_in_another_image(stock: Report) -> None:
    assert stock.explained == ()
    assert stock.numbers["files of root"] > 1000
    assert stock.numbers["files of initrd"] > 100


def test_each_finding_says_what_was_expected_what_was_found_and_the_mend(stock: Report) -> None:
    def said(finding: Finding) -> bool:
        return bool(finding.subject and finding.expected and finding.found and finding.hint)

    assert [finding for finding in stock.findings if not said(finding)] == []


def test_the_modules_of_debian_are_signed_by_the_key_in_debians_kernel(stock: Report) -> None:
    assert subjects(stock, "module-signatures") == []
    assert len(subjects(stock, "opening-modules")) > 10
