# SPDX-License-Identifier: Apache-2.0
"""What the kernel may execute, and what nothing may do any more once the machine is up."""

import re
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import pkcs7

from tests.image.conftest import Audit
from tests.image.unpacked import Tree

POLICY = "/usr/lib/ipe/mantlet.p7b"
# Linux, security/ipe/policy_parser.c: the operations that a rule can name.
OPERATIONS = {"EXECUTE", "FIRMWARE", "KMODULE", "KEXEC_IMAGE", "KEXEC_INITRAMFS", "POLICY", "X509_CERT"}
CONFIGURATION = "/etc/systemd/system.conf.d/50-mantlet.conf"
# What lets somebody change the policy of execution, the command line's choices, or the hardware.
GIVEN_UP = {
    "CAP_MAC_ADMIN",
    "CAP_MAC_OVERRIDE",
    "CAP_SYS_PTRACE",
    "CAP_SYS_RAWIO",
    "CAP_SYSLOG",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
}


@pytest.fixture(scope="module")
def signed_text(initrd: Tree, audit: Audit) -> str:
    """The text of the policy, verified against db by OpenSSL."""
    path = audit.folder / "policy.p7b"
    path.write_bytes(initrd.read(POLICY))
    words = (
        "openssl",
        "smime",
        "-verify",
        "-inform",
        "DER",
        "-in",
        path,
        "-binary",
        "-nointern",
        "-noverify",
    )
    assert audit.run(*words, "-certfile", audit.certificate("PK"), check=False).returncode != 0
    return audit.run(*words, "-certfile", audit.certificate("db")).stdout.decode("ascii")


def test_one_policy_of_execution_is_loaded_and_pid_1_of_the_initrd_loads_it(root: Tree, initrd: Tree) -> None:
    folders = ("/usr/lib/ipe", "/etc/ipe", "/usr/local/lib/ipe")
    assert initrd.below(*folders) == [POLICY]
    assert root.below(*folders) == []


def test_the_policy_has_the_declared_name_and_version(signed_text: str, parameters: dict[str, Any]) -> None:
    declared = parameters["execution_policy"]
    (header,) = re.findall(r"^policy_name=.*$", signed_text, re.MULTILINE)
    assert header == f"policy_name={declared['name']} policy_version={declared['version']}"


def test_the_policy_denies_what_it_does_not_allow_and_allows_initrd_and_signed_volumes(
    signed_text: str,
) -> None:
    rules = [
        line
        for line in signed_text.splitlines()
        if line and line[0] != "#" and not line.startswith("policy_")
    ]
    assert rules[0] == "DEFAULT action=DENY"
    allowed = [re.fullmatch(r"op=(\w+) (\w+)=TRUE action=ALLOW", line) for line in rules[1:]]
    pairs = {(match[1], match[2]) for match in allowed if match}
    assert len(pairs) == len(rules) - 1
    assert pairs == {
        (operation, origin)
        for operation in ("EXECUTE", "KMODULE")
        for origin in ("boot_verified", "dmverity_signature")
    }
    assert {operation for operation, _ in pairs} < OPERATIONS


def test_the_policy_brings_no_certificates_along(initrd: Tree) -> None:
    with pytest.raises(ValueError, match="no certificate data"):
        pkcs7.load_der_pkcs7_certificates(initrd.read(POLICY))


def test_nothing_on_the_command_line_weakens_the_policy(parameters: dict[str, Any]) -> None:
    words = " ".join(parameters["kernel_command_line"]).split()
    # Linux: ipe.enforce=1 unless it says otherwise, and the default order of security modules holds ipe.
    assert [word for word in words if word.startswith(("ipe.", "lsm=", "security="))] == []
    assert "proc_mem.force_override=never" in words


def test_pid_1_and_all_it_starts_give_capabilities_up(tree: Tree) -> None:
    (line,) = re.findall(r"^CapabilityBoundingSet=(.*)$", tree.text(CONFIGURATION), re.MULTILINE)
    kept = line.split()
    assert kept == sorted(kept)
    assert all(re.fullmatch(r"CAP_[A-Z_]+", name) for name in kept)
    assert set(kept) & GIVEN_UP == set()


def test_root_and_initrd_give_up_the_same(root: Tree, initrd: Tree) -> None:
    lines = [
        re.findall(r"^CapabilityBoundingSet=.*$", t.text(CONFIGURATION), re.MULTILINE) for t in (root, initrd)
    ]
    assert lines[0] == lines[1]


def test_module_loading_ends_when_what_is_listed_is_loaded(root: Tree, initrd: Tree) -> None:
    assert "kernel.modules_disabled = 1" in root.text("/usr/lib/sysctl.d/50-mantlet.conf").splitlines()
    unit = root.text("/usr/lib/systemd/system/systemd-sysctl.service")
    assert "After=systemd-modules-load.service" in unit.splitlines()
    network = root.text("/usr/lib/systemd/system/systemd-networkd.service")
    assert any("systemd-sysctl.service" in line for line in network.splitlines() if line.startswith("After="))


def test_each_module_of_the_root_is_loaded_by_then(root: Tree, initrd: Tree) -> None:
    def stems(tree: Tree) -> set[str]:
        found = (re.search(r"/([^/]+)\.ko(\.xz)?$", path) for path in tree.below("/usr/lib/modules"))
        return {match[1].replace("-", "_") for match in found if match}

    text = root.text("/usr/lib/modules-load.d/mantlet.conf")
    loaded = {line.replace("-", "_") for line in text.splitlines() if line and line[0] != "#"} | stems(initrd)
    dependencies = {}
    (path,) = [path for path in root.below("/usr/lib/modules") if path.endswith("/modules.dep")]
    for line in root.text(path).splitlines():
        module, _, needs = line.partition(":")
        name = module.rsplit("/", 1)[-1].partition(".")[0].replace("-", "_")
        dependencies[name] = {
            need.rsplit("/", 1)[-1].partition(".")[0].replace("-", "_") for need in needs.split()
        }
    loaded |= {need for name in loaded for need in dependencies.get(name, set())}
    assert stems(root) - loaded == set()
