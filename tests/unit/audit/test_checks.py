# SPDX-License-Identifier: Apache-2.0
"""Each check says nothing of an image that keeps its rule, and names what breaks it in one that does not."""

import gzip
import lzma
import re

import pytest

from mantlet.audit.allowed import Part
from mantlet.audit.checks import CHECKS, modules
from tests.unit.audit.broken import BROKEN, LISTED, SYSTEM, Broken, unit
from tests.unit.audit.images import (
    POLICY,
    SIGNED_MODULE,
    command_line,
    file,
    image,
    kernel,
    link,
    program,
    subjects,
    volume,
)


@pytest.mark.parametrize("rule", CHECKS)
def test_image_that_keeps_a_rule_has_no_finding(rule: str) -> None:
    assert CHECKS[rule](image(), LISTED) == ()


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: f"{case.rule} {case.subjects[0]}")
def test_image_that_breaks_a_rule_has_a_finding_that_names_it(case: Broken) -> None:
    findings = CHECKS[case.rule](case.image, case.policy)
    assert subjects(findings) == case.subjects
    assert {finding.rule for finding in findings} == {case.rule}
    assert all(finding.expected and finding.found and finding.hint for finding in findings)


def test_the_lists_name_something_of_each_part_that_the_image_has() -> None:
    named = {part for (part, _), names in LISTED.allowed.lists.items() if names}
    assert named >= {Part.ELF, Part.UNITS, Part.SOCKETS, Part.MODULES, Part.USERS, Part.ESP, Part.SYSCTLS}


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
    assert [finding.found for finding in found] == [
        "module: expected at most 1048576 bytes unpacked, found more"
    ]


def test_a_system_in_a_verified_usr_needs_no_root_hash() -> None:
    line = command_line().replace("roothash=", "usrhash=")
    verified = image(kernels=(kernel(cmdline=line),), volumes=(volume(of="usr"),))
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


def test_where_python_may_lie_is_not_how_it_is_started() -> None:
    bounded = image(unit("agent.service", "[Service]\nExecPaths=/usr/bin/python3 /usr/lib\n"))
    assert CHECKS["python-isolation"](bounded, POLICY) == ()


@pytest.mark.parametrize(
    "mount",
    [
        "What=tmpfs\nType=tmpfs",
        "What=/dev/mapper/model\nType=erofs",
        "What=/srv\nOptions=bind",
        "What=/dev/zram0",
    ],
)
def test_a_mount_of_the_machines_own_is_no_finding(mount: str) -> None:
    own = image({f"{SYSTEM}/srv.mount": file(f"[Mount]\nWhere=/run/x\n{mount}\n")})
    assert CHECKS["mounts"](own, POLICY) == ()
