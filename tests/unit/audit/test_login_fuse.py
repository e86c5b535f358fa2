# SPDX-License-Identifier: Apache-2.0
"""The login fuse is known by what it does, and what answers must have it."""

import pytest

from mantlet.audit.checks import CHECKS
from mantlet.audit.finding import Finding, Policy
from mantlet.audit.tree import Node
from tests.unit.audit.images import AGENT, POLICY, SYSTEM, WATCH, file, image, link, subjects

STAYS = "[Service]\nExecStart=/usr/bin/agent\n"
EARLY = "[Unit]\nDefaultDependencies=no\n"
BOUND = "[Unit]\nRequires=agent.service\nAfter=agent.service\n"
OTHER = f"{SYSTEM}/other.service"


def found(files: dict[str, Node | None], policy: Policy = POLICY) -> list[str]:
    """What is found in the image with these files put in."""
    findings: tuple[Finding, ...] = CHECKS["login-fuse"](image(files), policy)
    return subjects(findings)


def watch(text: str) -> dict[str, Node | None]:
    """The fuse with another text."""
    return {f"{SYSTEM}/watch.service": file(text)}


@pytest.mark.parametrize("policy", [POLICY, Policy()], ids=["named by the policy", "known by what it does"])
@pytest.mark.parametrize(
    ("line", "instead", "subject"),
    [
        ("FailureAction=poweroff-force", "", "root:watch.service FailureAction"),
        ("SuccessAction=poweroff-force", "", "root:watch.service SuccessAction"),
        ("SuccessAction=poweroff-force", "SuccessAction=exit", "root:watch.service SuccessAction"),
        ("SuccessAction=poweroff-force", "SuccessAction=soft-reboot", "root:watch.service SuccessAction"),
        ("WatchdogSec=60", "WatchdogSec=60\nRestart=always", "root:watch.service Restart"),
    ],
)
def test_a_fuse_whose_end_is_not_the_machines_is_a_finding(
    policy: Policy, line: str, instead: str, subject: str
) -> None:
    assert found(watch(WATCH.replace(line, instead)), policy) == [subject]


@pytest.mark.parametrize("action", ["poweroff", "poweroff-immediate", "halt", "reboot-force"])
def test_each_end_of_the_machine_is_one(action: str) -> None:
    assert found(watch(WATCH.replace("poweroff-force", action))) == []


@pytest.mark.parametrize("seconds", ["", "WatchdogSec=0", "WatchdogSec=infinity"])
def test_the_fuse_of_the_policy_must_say_that_it_lives(seconds: str) -> None:
    assert found(watch(WATCH.replace("WatchdogSec=60", seconds))) == ["root:watch.service WatchdogSec"]


def test_a_drop_in_that_takes_the_end_back_is_seen() -> None:
    drop_in = {"/etc/systemd/system/watch.service.d/x.conf": file("[Unit]\nFailureAction=\n")}
    assert found(dict(drop_in)) == ["root:watch.service FailureAction"]


def test_a_fuse_that_is_masked_is_gone() -> None:
    assert found({"/etc/systemd/system/watch.service": link("/dev/null")}) == ["root:watch.service"]


def test_an_image_without_a_fuse_has_no_finding() -> None:
    assert found({f"{SYSTEM}/watch.service": None, OTHER: file(STAYS)}, Policy()) == []


def test_services_of_systemd_are_not_taken_for_a_fuse() -> None:
    units = {
        f"{SYSTEM}/systemd-journald.service": file(f"{EARLY}{STAYS}WatchdogSec=3min\nRestart=always\n"),
        f"{SYSTEM}/systemd-poweroff.service": file(f"{EARLY}SuccessAction=poweroff-force\n"),
        f"{SYSTEM}/systemd-pcrphase.service": file(f"{EARLY}FailureAction=reboot-force\n{STAYS}"),
        f"{SYSTEM}/watch.service": None,
    }
    assert found(dict(units), Policy()) == []


@pytest.mark.parametrize(
    "text",
    [
        STAYS,
        f"[Unit]\nRequires=watch.service\n{STAYS}",
        f"[Unit]\nAfter=watch.service\n{STAYS}",
        f"[Unit]\nWants=watch.service\nAfter=watch.service\n{STAYS}",
        f"[Unit]\nAfter=agent.service\n{STAYS}",
        f"{EARLY}{STAYS}",
        f"{EARLY}{STAYS}RestrictAddressFamilies=AF_UNIX AF_INET6\n",
        f"{EARLY}{STAYS}RestrictAddressFamilies=AF_UNIX\nRestrictAddressFamilies=\n",
        f"{EARLY}{STAYS}RestrictAddressFamilies=~AF_PACKET\n",
    ],
)
def test_what_may_answer_without_the_fuse_is_a_finding(text: str) -> None:
    assert found({OTHER: file(text)}) == ["root:other.service"]


@pytest.mark.parametrize(
    "text",
    [
        AGENT,
        AGENT.replace("Requires", "BindsTo"),
        f"{BOUND}{STAYS}",
        f"{STAYS}Type=oneshot\n",
        "[Unit]\nDescription=It starts nothing.\n",
        f"{EARLY}After=watch.service\n{STAYS}",
        f"{EARLY}{STAYS}PrivateNetwork=yes\n",
        f"{EARLY}{STAYS}IPAddressDeny=any\n",
        f"{EARLY}{STAYS}RestrictAddressFamilies=AF_UNIX AF_NETLINK\n",
        f"{EARLY}{STAYS}RestrictAddressFamilies=none\n",
    ],
)
def test_what_has_the_fuse_or_cannot_answer_is_no_finding(text: str) -> None:
    assert found({OTHER: file(text)}) == []


def test_the_fuse_itself_may_say_who_comes_after_it_and_a_link_who_requires_it() -> None:
    files = {
        OTHER: file(STAYS),
        f"{SYSTEM}/other.service.requires/watch.service": link("../watch.service"),
        **watch(WATCH.replace("[Unit]", "[Unit]\nBefore=other.service")),
    }
    assert found(dict(files)) == []
