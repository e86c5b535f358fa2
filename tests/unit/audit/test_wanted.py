# SPDX-License-Identifier: Apache-2.0
"""Units that udev's rules have a device want are read as udev and PID 1 read them, and count as started."""

import pytest

from mantlet.audit import udev, units, wanted
from mantlet.audit.checks import CHECKS
from mantlet.audit.tree import Node
from tests.unit.audit.images import POLICY, SYSTEM, file, image, link, program, subjects, tree

RULES = "/usr/lib/udev/rules.d/50-a.rules"
MASK = f"/etc/udev/rules.d/{RULES.rsplit('/', 1)[1]}"
UNIT = "[Service]\n"


def named(text: str) -> list[tuple[str, bool]]:
    """The units that rules of this text have devices want, and whether the rules say which."""
    held = tree("root", {RULES: file(text)}, None)
    return [(want.unit, want.known) for want in udev.wants(held)]


def started(line: str, *names: str, **others: Node) -> dict[str, str]:
    """What devices start by a rule in a tree of these units, and of others by name in /etc."""
    held = {f"{SYSTEM}/{name}": file(UNIT) for name in names}
    etc = {f"/etc/systemd/system/{name}": node for name, node in others.items()}
    return wanted.by_devices(units.of(tree("root", {RULES: file(line), **held, **etc}, None)))


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("a.service", ["a.service"]),
        ("a.service b.socket  c.target", ["a.service", "b.socket", "c.target"]),
        ("'a.service' b.service", ["a.service", "b.service"]),
        ('\\"a.service\\"', ["a.service"]),
        ("a", ["a.service"]),
        ("a.b", ["a.b.service"]),
        ("/run/my-a/b/", [r"run-my\x2da-b.mount"]),
        ("dev-a.device", ["dev-a.device"]),
        ("a@.service", ["a@.service"]),
        ("a@b.service", ["a@b.service"]),
        ("a@$name.service", ["a@.service"]),
        ("a@backlight:%k.service b.service", ["a@.service", "b.service"]),
        ("a@$major:$minor.timer", ["a@.timer"]),
        ("a@$kernel", ["a@.service"]),
        ("", []),
    ],
)
def test_a_unit_of_a_rule_is_found(value: str, found: list[str]) -> None:
    assert named(f'TAG+="systemd", ENV{{SYSTEMD_WANTS}}+="{value}"') == [(name, True) for name in found]


@pytest.mark.parametrize("operator", ["=", "+=", ":="])
@pytest.mark.parametrize("manager", ["SYSTEMD_WANTS", "SYSTEMD_USER_WANTS"])
def test_each_way_to_set_a_property_has_a_device_want_a_unit(operator: str, manager: str) -> None:
    held = tree("root", {RULES: file(f'ENV{{{manager}}}{operator}"a.service"')}, None)
    user = manager == "SYSTEMD_USER_WANTS"
    assert udev.wants(held) == (udev.Want(rules=RULES, unit="a.service", user=user),)


@pytest.mark.parametrize(
    "line",
    [
        'ENV{SYSTEMD_WANTS}=="a.service"',
        'ENV{SYSTEMD_WANTS}!="a.service"',
        'ENV{SYSTEMD_WANTS}-="a.service"',
        'ENV{SYSTEMD_READY}="a.service"',
        'ATTR{SYSTEMD_WANTS}="a.service"',
        '# ENV{SYSTEMD_WANTS}+="a.service"',
    ],
)
def test_what_sets_nothing_has_no_device_want_a_unit(line: str) -> None:
    assert named(line) == []


def test_a_property_that_rules_set_is_followed_and_in_no_circle() -> None:
    text = 'ENV{A}="%E{B} a.service"\nENV{B}="b.service $env{A}"\nENV{SYSTEMD_WANTS}="$env{A}"'
    assert sorted(named(text)) == [("a.service", True), ("b.service", True)]
    assert named('ENV{SYSTEMD_WANTS}="$env{SYSTEMD_WANTS} a"') == [("a.service", True)]


@pytest.mark.parametrize(
    "word", ["$attr{a}.service", "$env{NOBODY_SETS_IT}", "a-$name.service", "%c@.service"]
)
def test_a_unit_that_a_device_names_is_said_to_be_unknown(word: str) -> None:
    assert named(f'ENV{{SYSTEMD_WANTS}}+="{word}"') == [(word, False)]


@pytest.mark.parametrize(
    "word", ["a@$attr{serial}.service", "a@%c.service", "a@$env{NOBODY_SETS_IT}.service"]
)
def test_attack_by_a_device_whose_word_has_spaces_leaves_what_it_names_unknown(word: str) -> None:
    assert named(f'ENV{{SYSTEMD_WANTS}}+="{word}"') == [("a@.service", True), (word, False)]


def test_a_device_starts_what_the_unit_that_it_wants_starts() -> None:
    rule = 'ENV{SYSTEMD_WANTS}+="a.target gone.service"'
    assert started(
        rule, "b.service", **{"a.target": file("[Unit]\nWants=b.service\n"), "c.service": file(UNIT)}
    ) == dict.fromkeys(("a.target", "b.service"), RULES)


def test_a_template_is_started_and_so_are_its_instances_that_have_a_file() -> None:
    names = ("a@.service", "a@sda.service", "a.service", "b@.service")
    assert started('ENV{SYSTEMD_WANTS}+="a@%k.service"', *names) == dict.fromkeys(names[:2], RULES)
    assert started('ENV{SYSTEMD_WANTS}+="b@x.service"', *names) == {"b@x.service": RULES}


def test_a_masked_unit_is_not_started_by_a_device() -> None:
    null = link("/dev/null")
    assert started('ENV{SYSTEMD_WANTS}+="a.service"', "a.service", **{"a.service": null}) == {}
    assert started('ENV{SYSTEMD_WANTS}+="a@.service"', "a@.service", **{"a@.service": null}) == {}
    assert started('ENV{SYSTEMD_WANTS}+="a@b.service"', "a@.service", **{"a@b.service": null}) == {}


def test_what_a_boot_starts_is_not_said_to_be_a_devices() -> None:
    assert started('ENV{SYSTEMD_WANTS}+="basic.target"', "basic.target") == {}


def test_rules_that_are_hidden_by_a_link_to_nothing_have_no_device_want_a_unit() -> None:
    files = {RULES: file('ENV{SYSTEMD_WANTS}+="a.service"'), f"{SYSTEM}/a.service": file(UNIT)}
    assert subjects(CHECKS["started-units"](image(files), POLICY)) == ["root:a.service"]
    assert subjects(CHECKS["started-units"](image({**files, MASK: link("/dev/null")}), POLICY)) == []


@pytest.mark.parametrize(
    ("rule", "unit", "wants"),
    [
        ("started-units", "a.service", "a.service"),
        ("getty", "getty@.service", "getty@$name.service"),
        ("serial-getty", "serial-getty@.service", "serial-getty@.service"),
        ("debug-shell", "debug-shell.service", "debug-shell"),
    ],
)
def test_a_finding_says_which_rules_have_a_device_want_the_unit(rule: str, unit: str, wants: str) -> None:
    files = {RULES: file(f'ENV{{SYSTEMD_WANTS}}:="{wants}"'), f"{SYSTEM}/{unit}": file(UNIT)}
    (finding,) = CHECKS[rule](image(files), POLICY)
    assert finding.found.endswith(f", which {RULES} has a device want")


def test_a_listed_unit_may_be_started_by_a_device_alone() -> None:
    files: dict[str, Node | None] = {
        f"{SYSTEM}/multi-user.target.wants/agent.service": None,
        RULES: file('ENV{SYSTEMD_WANTS}+="agent.service"'),
    }
    assert subjects(CHECKS["started-units"](image(files), POLICY)) == []


@pytest.mark.parametrize(
    ("manager", "found"), [(file(UNIT), ["root:a.service"]), (link("/dev/null"), []), (None, [])]
)
def test_a_users_unit_is_a_finding_where_a_users_manager_can_be_started(
    manager: Node | None, found: list[str]
) -> None:
    files = {
        RULES: file('ENV{SYSTEMD_USER_WANTS}+="a.service b.service"'),
        f"{SYSTEM}/b.service": file(UNIT),
        f"{SYSTEM}/user@.service": manager,
        "/usr/lib/systemd/user/a.service": file(UNIT),
    }
    assert subjects(CHECKS["started-units"](image(files), POLICY)) == found


@pytest.mark.parametrize(
    ("setting", "files", "found"),
    [
        ("ExecStart=/bin/sh", {"/usr/bin/sh": program()}, "a shell or an interpreter"),
        ("ExecStartPre=+!bash -c x", {"/usr/sbin/bash": program()}, "a shell or an interpreter"),
        ("ExecStop='/usr/bin/x' y", {"/usr/bin/x": program(b"#!/bin/sh\n")}, "a script"),
        ('ExecCondition="/run/x"', {}, "written"),
        ("ExecStart=/usr/lib/%i", {}, "a device names"),
    ],
)
def test_a_program_of_a_unit_that_a_device_starts_is_looked_at(
    setting: str, files: dict[str, Node], found: str
) -> None:
    rules = {RULES: file('ENV{SYSTEMD_WANTS}+="a@%k.service"')}
    unit = {f"{SYSTEM}/a@.service": file(f"[Service]\n{setting}\n")}
    (finding,) = CHECKS["device-programs"](image({**rules, **unit, **files}), POLICY)
    assert found in finding.found
    assert finding.subject.startswith(f"root:{RULES} a@.service /")
    assert CHECKS["device-programs"](image({**unit, **files}), POLICY) == ()


@pytest.mark.parametrize(
    "setting", ["ExecStart=/bin/sh", "ExecStart=tool", "ExecStart=", "ExecPaths=/bin/sh"]
)
def test_a_program_that_is_not_there_or_not_run_is_no_finding(setting: str) -> None:
    files = {
        RULES: file('ENV{SYSTEMD_WANTS}+="a"'),
        f"{SYSTEM}/a.service": file(f"[Service]\n{setting}\n"),
        "/usr/bin/tool": program(),
    }
    assert CHECKS["device-programs"](image(files), POLICY) == ()


ETC = "/etc/systemd/system"


@pytest.mark.parametrize(
    ("held", "by"),
    [
        (
            {f"{ETC}/dev-a.device.wants/a.service": link("/usr/lib/systemd/system/a.service")},
            "wants/a.service",
        ),
        ({f"{ETC}/dev-a.device.requires/a.service": link(f"{SYSTEM}/a.service")}, "requires/a.service"),
        ({f"{SYSTEM}/dev-a.device.upholds/a.service": link("../a.service")}, "upholds/a.service"),
        ({f"{ETC}/dev-a.device.d/1.conf": file("[Unit]\nWants=b.service a.service\n")}, "d/1.conf"),
        ({f"{ETC}/dev-a.device": file("[Unit]\nBindsTo=a.service\n")}, "dev-a.device"),
    ],
)
def test_a_unit_of_a_device_starts_what_it_pulls_in(held: dict[str, Node], by: str) -> None:
    found = wanted.by_devices(units.of(tree("root", {f"{SYSTEM}/a.service": file(UNIT), **held}, None)))
    assert list(found) == ["a.service"]
    assert found["a.service"].endswith(by)


@pytest.mark.parametrize(
    "held",
    [
        {f"{ETC}/dev-a.device.wants/a.service": link("/dev/null")},
        {f"{ETC}/dev-a.device.d/1.conf": file("[Unit]\nAfter=a.service\n")},
        {f"{ETC}/dev-a.device.d/1.txt": file("[Unit]\nWants=a.service\n")},
        {f"{ETC}/dev-a.mount.wants/a.service": link(f"{SYSTEM}/a.service")},
    ],
)
def test_what_is_masked_or_pulls_nothing_in_starts_nothing(held: dict[str, Node]) -> None:
    assert wanted.by_devices(units.of(tree("root", {f"{SYSTEM}/a.service": file(UNIT), **held}, None))) == {}
