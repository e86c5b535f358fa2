# SPDX-License-Identifier: Apache-2.0
"""Images of other builders are looked at in their own layouts: no check needs the one that ours has."""

from collections.abc import Mapping

import pytest

from mantlet.audit import engine, layout
from mantlet.audit.finding import Policy
from mantlet.audit.image import Image
from mantlet.audit.tree import Node, Tree
from tests.unit.audit.images import command_line, file, image, kernel, link, program, tree

STORE = "/nix/store"
# NixOS, image/repart: nothing but the store is in the image; links lead through it.
NIXOS: Mapping[str, Node] = {
    f"{STORE}/a-nixos-system/init": program(),
    f"{STORE}/a-nixos-system/etc": link(f"{STORE}/b-etc/etc"),
    f"{STORE}/a-nixos-system/systemd": link(f"{STORE}/f-systemd"),
    f"{STORE}/a-nixos-system/sw": link(f"{STORE}/h-system-path"),
    f"{STORE}/b-etc/etc/pam.d/login": file("auth sufficient pam_unix.so nullok\n"),
    f"{STORE}/b-etc/etc/sysctl.d/60-nixos.conf": file("kernel.sysrq = 16\n"),
    f"{STORE}/b-etc/etc/systemd/system": link(f"{STORE}/c-system-units"),
    f"{STORE}/b-etc/etc/ssh/authorized_keys": file("ssh-ed25519 x\n"),
    f"{STORE}/c-system-units/default.target": link("multi-user.target"),
    f"{STORE}/c-system-units/multi-user.target": link(
        f"{STORE}/f-systemd/example/systemd/system/multi-user.target"
    ),
    f"{STORE}/c-system-units/multi-user.target.wants/sshd.service": link("../sshd.service"),
    f"{STORE}/c-system-units/sshd.service": link(f"{STORE}/d-unit-sshd.service/sshd.service"),
    f"{STORE}/d-unit-sshd.service/sshd.service": file(
        f"[Service]\nExecStart={STORE}/e-openssh/bin/sshd -D\nLoadCredential=key\n"
    ),
    f"{STORE}/e-openssh/bin/sshd": program(),
    f"{STORE}/f-systemd/example/systemd/system/multi-user.target": file("[Unit]\n"),
    f"{STORE}/f-systemd/example/systemd/system/getty@.service": file("[Service]\n"),
    f"{STORE}/f-systemd/lib/systemd/system-generators/systemd-getty-generator": program(),
    f"{STORE}/g-bash/bin/bash": program(),
    f"{STORE}/h-system-path/bin/sh": link(f"{STORE}/g-bash/bin/bash"),
}
# KIWI: openSUSE with its configuration below /usr/etc, as far as /etc has nothing of the same name.
KIWI: Mapping[str, Node] = {
    "/etc/passwd": file("root:x:0:0:root:/root:/bin/bash\n"),
    "/etc/shadow": file("root:$6$x$y:20000::::::\n"),
    "/bin/bash": program(),
    "/usr/bin/zypper": program(),
    "/usr/etc/nsswitch.conf": file("passwd: compat systemd\n"),
    "/usr/etc/pam.d/login": file("auth include common-auth\n"),
    "/usr/lib/systemd/system/default.target": link("multi-user.target"),
    "/usr/lib/systemd/system/multi-user.target": file("[Unit]\nWants=getty@tty1.service\n"),
    "/usr/lib/systemd/system/getty@.service": file("[Service]\nExecStart=/sbin/agetty\n"),
    "/usr/lib/systemd/system-generators/systemd-gpt-auto-generator": program(),
}


def found(foreign: Image) -> dict[str, list[str]]:
    """The findings of an image, by rule."""
    told: dict[str, list[str]] = {}
    for finding in engine.audit(foreign, Policy()).findings:
        told.setdefault(finding.rule, []).append(finding.subject)
    return told


@pytest.fixture(scope="module")
def nixos() -> dict[str, list[str]]:
    """What is found in NixOS, booted as its command line says."""
    booted = kernel(cmdline=f"{command_line()} init={STORE}/a-nixos-system/init")
    system = layout.placed(tree("root", NIXOS, None), (booted,))
    return found(image(id="nixos", kernels=(booted,), trees=(system,)))


def test_in_nixos_units_are_found_through_the_store(nixos: dict[str, list[str]]) -> None:
    assert "root:sshd.service key" in nixos["credential-import"]
    assert nixos["getty"] == [
        f"root:{STORE}/f-systemd/example/systemd/system/getty@.service",
        f"root:{STORE}/f-systemd/lib/systemd/system-generators/systemd-getty-generator",
        "root:/usr/lib/systemd/system-generators/systemd-getty-generator",
    ]


def test_in_nixos_the_etc_of_the_booted_system_is_looked_at(nixos: dict[str, list[str]]) -> None:
    assert "root:/etc/pam.d/login" in nixos["pam"]
    assert "root:kernel.sysrq" in nixos["sysctl"]
    assert "root:/etc/ssh/authorized_keys" in nixos["authorized-keys"]


def test_in_nixos_programs_are_found_wherever_they_lie(nixos: dict[str, list[str]]) -> None:
    assert f"root:{STORE}/e-openssh/bin/sshd" in nixos["remote-access"]
    assert f"root:{STORE}/g-bash/bin/bash" in nixos["shells"]
    assert "root:/usr/bin/sh" in nixos["shells"]


def test_accounts_that_a_boot_makes_are_said_not_to_be_seen(nixos: dict[str, list[str]]) -> None:
    assert nixos["passwords"] == ["root:/etc/passwd"]


def test_in_nixos_the_boot_of_the_system_is_followed() -> None:
    booted = kernel(cmdline=f"init={STORE}/a-nixos-system/init")
    from_links = layout.placed(tree("root", NIXOS, None), (booted,))
    policy = Policy(image="nixos", units={"root": frozenset({"multi-user.target"})})
    told = engine.audit(image(id="nixos", kernels=(booted,), trees=(from_links,)), policy)
    assert [item.subject for item in told.findings if item.rule == "started-units"] == ["root:sshd.service"]


@pytest.mark.parametrize("line", ["", "init=/sbin/init", f"init={STORE}/z-missing/init"])
def test_another_command_line_moves_nothing(line: str) -> None:
    plain = tree("root", NIXOS, None)
    assert layout.placed(plain, (kernel(cmdline=line),)).nodes == plain.nodes


def test_what_an_image_has_in_etc_is_not_hidden_by_its_store() -> None:
    mixed = tree("root", {**NIXOS, "/etc/passwd": file("root:::\n")}, None)
    kept: Tree = layout.placed(mixed, (kernel(cmdline=f"init={STORE}/a-nixos-system/init"),))
    assert "/etc/pam.d/login" not in kept.nodes
    assert "/usr/bin/sh" in kept.nodes


def test_in_kiwi_configuration_below_usr_etc_counts() -> None:
    told = found(image(id="kiwi", trees=(tree("root", KIWI, None),)))
    assert told["name-services"] == ["root:/etc/nsswitch.conf passwd"]
    assert told["pam"] == ["root:/usr/etc/pam.d/login"]
    assert told["passwords"] == ["root:/etc/passwd root"]
    assert told["login-shells"] == ["root:/etc/passwd root"]
    assert told["package-managers"] == ["root:/usr/bin/zypper"]
    assert told["gpt-auto"] == ["root:/usr/lib/systemd/system-generators/systemd-gpt-auto-generator"]
    assert told["getty"] == ["root:/usr/lib/systemd/system/getty@.service"] * 2
