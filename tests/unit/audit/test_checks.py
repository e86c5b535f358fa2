# SPDX-License-Identifier: Apache-2.0
"""Each check says nothing of an image that keeps its rule, and names what breaks it in one that does not."""

import gzip
import lzma
import re
from typing import NamedTuple

import pytest

from mantlet.audit.checks import CHECKS, modules
from mantlet.audit.checks.programs import GROUPS
from mantlet.audit.image import Image, Signature, VerityVolume
from mantlet.audit.tree import Node, Tree
from tests.unit.audit.images import (
    HASH,
    POLICY,
    SIGNED_MODULE,
    SYSTEM,
    UKI,
    command_line,
    file,
    image,
    kernel,
    link,
    partition,
    program,
    subjects,
)

GENERATORS = "/usr/lib/systemd/system-generators"


class Broken(NamedTuple):
    """A rule, an image that breaks it, and the subjects of the findings."""

    rule: str
    image: Image
    subjects: list[str]


def cmdline(line: str) -> Image:
    """The image with another command line."""
    return image(kernels=(kernel(cmdline=line),))


def unit(name: str, text: str) -> dict[str, Node | None]:
    """A unit among the root's."""
    return {f"{SYSTEM}/{name}": file(text)}


def sysctl(text: str) -> dict[str, Node | None]:
    """Kernel settings that come last."""
    return {"/etc/sysctl.d/99.conf": file(text)}


def esp(path: str) -> Image:
    """The image with another file on the EFI system partition."""
    return image(esp={UKI: 4096, path: 40})


def capable() -> Node:
    """A program with capabilities."""
    return Node(mode=0o100755, size=4, attributes={"security.capability": bytes(20)})


BROKEN = [
    Broken("cmdline-hardening", cmdline(command_line().replace("console=null", "")), ["console"]),
    Broken("cmdline-hardening", cmdline(f"{command_line()} console=ttyS0"), ["console"]),
    Broken("cmdline-hardening", cmdline(f"{command_line()} lockdown=integrity"), ["lockdown"]),
    Broken("cmdline-hardening", cmdline(f"{command_line()} init_on_free=0"), ["init_on_free"]),
    Broken("cmdline-opening", cmdline(f"{command_line()} init=/bin/sh"), ["init"]),
    Broken("cmdline-opening", cmdline(f"{command_line()} rd.break"), ["rd.break"]),
    Broken("esp-files", esp("/loader/addons/a.addon.efi"), ["/loader/addons/a.addon.efi"]),
    Broken("esp-files", esp("/loader/credentials/a.cred"), ["/loader/credentials/a.cred"]),
    Broken("esp-files", esp("/loader/boot-secret-mixin"), ["/loader/boot-secret-mixin"]),
    Broken("esp-files", esp("/notes.txt"), ["/notes.txt"]),
    Broken("esp-programs", image(pe_files=frozenset({UKI, "/shellx64.efi"})), ["/shellx64.efi"]),
    Broken("uki-sections", cmdline(""), [UKI]),
    Broken("uki-sections", image(kernels=(kernel(sections=(".profile",)),)), [f"{UKI} .profile"]),
    Broken("uki-signature", image(kernels=(kernel(signature=Signature.NONE),)), [UKI]),
    Broken("uki-signature", image(kernels=(kernel(signature=Signature.BROKEN),)), [UKI]),
    Broken("verity-root-hash", cmdline("root=/dev/sda1"), [UKI]),
    Broken("verity-root-hash", image(volumes=()), [UKI]),
    Broken(
        "verity-root-hash", image(volumes=(VerityVolume(of="root", computed="00" * 32, signed=HASH),)), [UKI]
    ),
    Broken("verity-signature", image(volumes=(VerityVolume(of="root", computed=HASH, signed=""),)), ["root"]),
    Broken(
        "verity-signature", image(volumes=(VerityVolume(of="root", computed=HASH, signed="00"),)), ["root"]
    ),
    Broken(
        "unverified-partition",
        image(partitions=(partition(5, "4d21b016-b534-45c2-a9fb-5c16e091fd2d", "var"),)),
        ["partition 5 var"],
    ),
    Broken("getty", image(unit("getty@.service", "[Service]\n")), [f"root:{SYSTEM}/getty@.service"]),
    Broken(
        "getty",
        image({f"{GENERATORS}/systemd-getty-generator": program()}),
        [f"root:{GENERATORS}/systemd-getty-generator"],
    ),
    Broken(
        "serial-getty",
        image(unit("serial-getty@.service", "[Service]\n")),
        [f"root:{SYSTEM}/serial-getty@.service"],
    ),
    Broken(
        "debug-shell",
        image(initrd=unit("debug-shell.service", "[Service]\n")),
        [f"initrd:{SYSTEM}/debug-shell.service"],
    ),
    Broken(
        "emergency-shell",
        image(unit("emergency.target", "[Unit]\nRequires=emergency.service\n")),
        [f"root:{SYSTEM}/emergency.target"],
    ),
    Broken(
        "emergency-shell",
        image(unit("rescue.service", "[Service]\nExecStart=-/usr/sbin/sulogin\n")),
        [f"root:{SYSTEM}/rescue.service"],
    ),
    Broken(
        "password-prompt",
        image(unit("systemd-ask-password-console.service", "[Service]\n")),
        [f"root:{SYSTEM}/systemd-ask-password-console.service"],
    ),
    Broken(
        "autologin",
        image({f"{SYSTEM}/agent.service.d/x.conf": file("[Service]\nExecStart=agetty --autologin root\n")}),
        [f"root:{SYSTEM}/agent.service.d/x.conf"],
    ),
    Broken(
        "autologin",
        image(unit("agent.service", "[Service]\nEnvironment=SYSTEMD_SULOGIN_FORCE=1\n")),
        [f"root:{SYSTEM}/agent.service"],
    ),
    Broken(
        "generators",
        image({f"{GENERATORS}/systemd-run-generator": program()}),
        [f"root:{GENERATORS}/systemd-run-generator"],
    ),
    Broken("generators", image({f"{GENERATORS}/unheard-of": program()}), [f"root:{GENERATORS}/unheard-of"]),
    Broken(
        "gpt-auto",
        image(initrd={f"{GENERATORS}/systemd-gpt-auto-generator": program()}),
        [f"initrd:{GENERATORS}/systemd-gpt-auto-generator"],
    ),
    Broken("ssh-generator", image({"/usr/sbin/sshd": program()}), ["root:/usr/sbin/sshd"]),
    Broken(
        "started-units",
        image(
            {
                f"{SYSTEM}/other.service": file("[Service]\n"),
                f"{SYSTEM}/default.target.wants/other.service": link("../other.service"),
            }
        ),
        ["root:other.service"],
    ),
    Broken(
        "started-units",
        image({f"{SYSTEM}/multi-user.target.wants/agent.service": None}),
        ["root:agent.service"],
    ),
    Broken(
        "listening-sockets",
        image(unit("agent.socket", "[Socket]\nListenStream=vsock::22\n")),
        ["root:agent.socket"],
    ),
    Broken(
        "presets",
        image(
            {
                **unit("debug-shell.service", "[Service]\n"),
                "/usr/lib/systemd/system-preset/90.preset": file("enable debug-*\n"),
            }
        ),
        ["root:debug-shell.service"],
    ),
    Broken(
        "credential-import",
        image(unit("agent.service", "[Service]\nImportCredential=agent.*\n")),
        ["root:agent.service agent.*"],
    ),
    Broken(
        "credential-import",
        image(unit("agent.service", "[Service]\nLoadCredential=key\n")),
        ["root:agent.service key"],
    ),
    Broken("credential-stores", image({"/etc/credstore/x": file("x")}), ["root:/etc/credstore/x"]),
    Broken("extensions", image({"/usr/lib/repart.d/10.conf": file()}), ["root:/usr/lib/repart.d/10.conf"]),
    Broken("passwords", image({"/etc/shadow": file("agent::1::::::\n")}), ["root:/etc/passwd agent"]),
    Broken("passwords", image({"/etc/passwd": file("root:*:0:0:::\nr:*:0:0:::\n")}), ["root:/etc/passwd r"]),
    Broken("login-shells", image({"/usr/bin/bash": program()}), ["root:/etc/passwd root"]),
    Broken(
        "name-services",
        image({"/etc/nsswitch.conf": file("passwd: files systemd\n")}),
        ["root:/etc/nsswitch.conf passwd"],
    ),
    Broken(
        "pam",
        image({"/etc/pam.d/login": file("auth sufficient pam_permit.so\n")}),
        ["root:/etc/pam.d/login"],
    ),
    Broken(
        "authorized-keys",
        image({"/etc/ssh/authorized_keys": file("ssh-ed25519")}),
        ["root:/etc/ssh/authorized_keys"],
    ),
    *(
        Broken(
            rule,
            image({f"/usr/bin/{name}": program() for name in [min(group.names)]}),
            [f"root:/usr/bin/{min(group.names)}"],
        )
        for rule, group in GROUPS.items()
    ),
    Broken(
        "shells",
        image({"/usr/bin/agent-box": program(), "/usr/bin/sh": link("agent-box")}),
        ["root:/usr/bin/sh"],
    ),
    Broken("setuid", image({"/usr/bin/x": program(mode=0o4755)}), ["root:/usr/bin/x"]),
    Broken("setuid", image({"/usr/bin/x": program(mode=0o2755)}), ["root:/usr/bin/x"]),
    Broken("file-capabilities", image({"/usr/bin/x": capable()}), ["root:/usr/bin/x"]),
    Broken(
        "file-capabilities", image(trees=(Tree(name="root", nodes={}, has_attributes=False),)), ["root:/"]
    ),
    Broken("world-writable", image({"/usr/bin/x": program(mode=0o757)}), ["root:/usr/bin/x"]),
    Broken("scripts", image({"/usr/bin/x": program(b"#! /usr/bin/agent -x\n")}), ["root:/usr/bin/x"]),
    Broken("sysctl", image(sysctl("kernel.sysrq = 438\n")), ["root:kernel.sysrq"]),
    Broken("core-dumps", image(sysctl("kernel/core_pattern=core\n")), ["root:kernel.core_pattern"]),
    Broken(
        "core-dumps",
        image({"/etc/systemd/system.conf.d/9.conf": file("[Manager]\nDefaultLimitCORE=infinity\n")}),
        ["root:DefaultLimitCORE"],
    ),
    Broken(
        "manager-settings",
        image({"/etc/systemd/system.conf.d/9.conf": file("[Manager]\nCrashShell=yes\n")}),
        ["root:CrashShell"],
    ),
    Broken("module-signatures", image({"/lib/modules/a.ko": file(b"ELF")}), ["root:/lib/modules/a.ko"]),
    Broken(
        "module-signatures",
        image({"/lib/modules/a.ko.xz": file(b"junk")}),
        ["root:/lib/modules/a.ko.xz"],
    ),
    Broken(
        "opening-modules",
        image(initrd={"/usr/lib/modules/7/qemu_fw_cfg.ko.xz": file()}),
        ["initrd:/usr/lib/modules/7/qemu_fw_cfg.ko.xz"],
    ),
    Broken(
        "python-path",
        image({"/usr/lib/python3/dist-packages/x.pth": file("import x")}),
        ["root:/usr/lib/python3/dist-packages/x.pth"],
    ),
    Broken(
        "python-isolation",
        image(unit("agent.service", "[Service]\nExecStart=/usr/bin/python3 -m agent\n")),
        ["root:agent.service"],
    ),
    Broken("unit-sandbox", image(exposures={"a.service": 9.6, "b.service": 5.0}), ["root:a.service"]),
    Broken("unit-sandbox", image(exposures={"a.service": None}), ["root:a.service"]),
    Broken("sealing-policy", image(enforced={"x": (4, 7, 9, 11, 13)}), ["x PCR 12"]),
]  # fmt: skip


@pytest.mark.parametrize("rule", CHECKS)
def test_image_that_keeps_a_rule_has_no_finding(rule: str) -> None:
    assert CHECKS[rule](image(), POLICY) == ()


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: f"{case.rule} {case.subjects[0]}")
def test_image_that_breaks_a_rule_has_a_finding_that_names_it(case: Broken) -> None:
    findings = CHECKS[case.rule](case.image, POLICY)
    assert subjects(findings) == case.subjects
    assert {finding.rule for finding in findings} == {case.rule}
    assert all(finding.expected and finding.found and finding.hint for finding in findings)


def test_each_check_is_broken_by_one_of_these_images() -> None:
    assert {case.rule for case in BROKEN} == set(CHECKS)


@pytest.mark.parametrize("rule", CHECKS)
def test_a_rule_has_an_id_and_a_title_that_is_a_sentence(rule: str) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", rule)
    assert re.fullmatch(r"[A-Z].*\.", CHECKS[rule].title)


def test_settings_that_are_hidden_by_a_link_to_nothing_are_not_set() -> None:
    found = CHECKS["sysctl"](image({"/etc/sysctl.d/50.conf": link("/dev/null")}), POLICY)
    assert "root:fs.suid_dumpable" in subjects(found)


def test_a_masked_unit_is_no_finding() -> None:
    masked = image(
        {
            f"{SYSTEM}/getty@.service": file("[Service]\n"),
            "/etc/systemd/system/getty@.service": link("/dev/null"),
        }
    )
    assert CHECKS["getty"](masked, POLICY) == ()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.ko", SIGNED_MODULE),
        ("a.ko.xz", lzma.compress(SIGNED_MODULE)),
        ("a.ko.gz", gzip.compress(SIGNED_MODULE)),
    ],
)
def test_a_signed_module_is_no_finding_however_it_is_packed(name: str, content: bytes) -> None:
    assert CHECKS["module-signatures"](image({f"/lib/modules/{name}": file(content)}), POLICY) == ()


@pytest.mark.parametrize(
    "content", [gzip.compress(b"ELF"), gzip.compress(SIGNED_MODULE)[:-9]], ids=["unsigned", "cut off"]
)
def test_a_packed_module_without_a_signature_is_a_finding(content: bytes) -> None:
    found = CHECKS["module-signatures"](image({"/lib/modules/a.ko.gz": file(content)}), POLICY)
    assert subjects(found) == ["root:/lib/modules/a.ko.gz"]


def test_attack_by_a_module_that_grows_without_end_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modules, "_LIMIT", 1 << 20)
    bomb = gzip.compress(bytes(4 << 20) + SIGNED_MODULE)
    found = CHECKS["module-signatures"](image({"/lib/modules/a.ko.gz": file(bomb)}), POLICY)
    assert [finding.found for finding in found] == [f"more than {1 << 20} bytes unpacked"]


def test_a_system_in_a_verified_usr_needs_no_root_hash() -> None:
    line = command_line().replace("roothash=", "usrhash=")
    verified = image(
        kernels=(kernel(cmdline=line),), volumes=(VerityVolume(of="usr", computed=HASH, signed=HASH),)
    )
    assert CHECKS["verity-root-hash"](verified, POLICY) == ()


def test_a_collector_of_core_dumps_is_a_finding() -> None:
    found = CHECKS["core-dumps"](image({"/usr/lib/systemd/systemd-coredump": program()}), POLICY)
    assert subjects(found) == ["root:/usr/lib/systemd/systemd-coredump"]


def test_a_credential_from_a_path_of_the_machine_itself_is_no_finding() -> None:
    own = image(unit("agent.service", "[Service]\nLoadCredential=key:/run/agent/key\n"))
    assert CHECKS["credential-import"](own, POLICY) == ()


def test_a_unit_that_a_boot_starts_is_said_to_be_started() -> None:
    wanted = image(
        {
            f"{SYSTEM}/getty@.service": file("[Service]\n"),
            f"{SYSTEM}/default.target.wants/getty@tty1.service": link("../getty@.service"),
        }
    )
    assert "getty@tty1.service, which a boot starts" in {
        finding.found for finding in CHECKS["getty"](wanted, POLICY)
    }
