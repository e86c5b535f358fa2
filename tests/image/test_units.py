# SPDX-License-Identifier: Apache-2.0
"""What systemd starts, in the initrd and in the root: these units, and nothing generated or asked for."""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest

from mantlet.edge import project
from tests.image.conftest import Audit
from tests.image.unpacked import Tree

SYSTEM = "/usr/lib/systemd/system"
UNIT = re.compile(r"\.(service|socket|target|mount|automount|timer|path|slice|scope|swap|device)$")
ENABLED = {
    "root": {
        "local-fs.target.wants": {"tmp.mount", "var.mount"},
        "multi-user.target.wants": {
            "mantlet-boot.service",
            "mantlet-fuse.service",
            "mantlet-serve.service",
        },
        "sockets.target.wants": {
            "systemd-journald-dev-log.socket",
            "systemd-journald.socket",
            "systemd-udevd-kernel.socket",
            "systemd-udevd-varlink.socket",
        },
        "sysinit.target.wants": {
            "systemd-journald.service",
            "systemd-modules-load.service",
            "systemd-sysctl.service",
            "systemd-tmpfiles-setup.service",
            "systemd-udev-trigger.service",
            "systemd-udevd.service",
        },
    },
    "initrd": {
        "initrd-root-fs.target.requires": {"sysroot.mount"},
        "initrd.target.wants": {"initrd-cleanup.service", "systemd-pcrphase-initrd.service"},
        "sockets.target.wants": {"systemd-udevd-kernel.socket", "systemd-udevd-varlink.socket"},
        "sysinit.target.wants": {
            "systemd-pcrosseparator.service",
            "systemd-udev-trigger.service",
            "systemd-udevd.service",
            "veritysetup.target",
        },
    },
}
# Programs that systemd finds by itself, without a unit.
FOUND = (
    *(f"{base}/{kind}" for base in ("/etc/systemd", "/usr/lib/systemd", "/usr/local/lib/systemd")
      for kind in ("system-generators", "system-environment-generators", "user-generators", "system-shutdown",
                   "system-sleep")),
)  # fmt: skip
MASKED = ("ctrl-alt-del", "exit", "halt", "kbrequest", "kexec", "reboot", "soft-reboot")
ABSENT = re.compile(
    r"getty|console|login|user@|debug-shell|ssh|sudo|emergency\.service|rescue\.service|sysext|confext|firstboot|"
    r"homed|machine|import|creds|credential|nspawn|vmspawn|portable|bootctl|update|resolve|timesync|network-generator|"
    r"fsck|hibernate|sleep|suspend|gpt|cryptsetup@|ask-password|coredump|oomd|repart|growfs|userdb|varlink@"
)


def units(tree: Tree) -> dict[str, str]:
    """The text of each unit file and drop-in that is not a link."""
    return {
        path: tree.text(path)
        for path in tree.below(SYSTEM, "/etc/systemd/system", "/run/systemd/system")
        if tree.entries[path].is_file
    }


def settings(text: str, name: str) -> list[str]:
    """The values of one setting, in order, continued lines joined."""
    return re.findall(rf"^{name}=(.*)$", text.replace("\\\n", " "), re.MULTILINE)


def programs(text: str) -> Iterator[str]:
    """The programs that a unit starts."""
    for line in settings(text, r"Exec\w+"):
        if line and not line.startswith("/dev/"):
            yield line.split()[0].lstrip("-+!:@|")


def test_these_units_are_enabled_and_no_others(tree: Tree) -> None:
    enabled: dict[str, set[str]] = {}
    for path in tree.below(SYSTEM, "/etc/systemd"):
        place = PurePosixPath(path)
        if place.parent.suffix in (".wants", ".requires", ".upholds"):
            assert tree.entries[path].is_link
            enabled.setdefault(place.parent.name, set()).add(place.name)
    assert enabled == ENABLED[tree.name]


def test_configuration_of_the_initrd_is_ours_alone(initrd: Tree) -> None:
    assert initrd.below("/etc/systemd", "/etc/udev") == ["/etc/systemd/system.conf.d/50-mantlet.conf"]


def test_configuration_is_ours_alone(root: Tree) -> None:
    assert [path for path in root.below("/etc/systemd") if root.entries[path].is_file] == [
        "/etc/systemd/journald.conf.d/50-mantlet.conf",
        "/etc/systemd/network/80-ethernet.network",
        "/etc/systemd/system.conf.d/50-mantlet.conf",
    ]
    others = ("/etc/udev", "/etc/modules-load.d", "/etc/modprobe.d", "/etc/sysctl.d", "/etc/tmpfiles.d")
    assert root.below(*others) == []


def test_no_unit_stands_outside_the_two_folders(tree: Tree) -> None:
    folders = {str(PurePosixPath(path).parent) for path in tree.below("") if UNIT.search(path)}
    allowed = re.compile(r"(/usr/lib|/etc)/systemd/system(/[\w.@-]+\.(wants|requires))?")
    assert [folder for folder in folders if not allowed.fullmatch(folder)] == []


def test_no_unit_opens_a_way_in_or_reads_what_is_not_verified(tree: Tree) -> None:
    present = tree.below(SYSTEM, "/etc/systemd/system")
    assert [path for path in present if ABSENT.search(path.rsplit("/", 1)[1])] == []


def test_the_machine_starts_what_it_is_for(root: Tree) -> None:
    assert root.resolve(f"{SYSTEM}/default.target") == f"{SYSTEM}/multi-user.target"


@pytest.mark.parametrize("target", ["emergency", "rescue"])
def test_what_would_end_in_a_shell_ends_in_power_off(tree: Tree, target: str) -> None:
    assert tree.resolve(f"{SYSTEM}/{target}.target") == f"{SYSTEM}/poweroff.target"
    assert tree.entries[f"{SYSTEM}/systemd-poweroff.service"].is_file


@pytest.mark.parametrize("target", MASKED)
def test_what_leaves_the_measured_system_is_masked(root: Tree, target: str) -> None:
    assert root.entries[f"{SYSTEM}/{target}.target"].target == "/dev/null"


def test_one_generator_makes_units_and_it_is_veritysetups(root: Tree, initrd: Tree) -> None:
    assert root.below(*FOUND) == []
    assert initrd.below(*FOUND) == ["/usr/lib/systemd/system-generators/systemd-veritysetup-generator"]


def test_each_program_that_a_unit_starts_is_in_the_image(tree: Tree) -> None:
    missing = {}
    for path, text in units(tree).items():
        for program in programs(text):
            folders = [""] if program.startswith("/") else ["/usr/bin/", "/usr/sbin/"]
            if not any(tree.resolve(folder + program) for folder in folders):
                missing[path] = program
    assert missing == {}


def test_no_service_takes_a_credential_but_the_front_its_key(root: Tree) -> None:
    found = {
        path.rsplit("/", 1)[1]: [
            line for line in text.splitlines() if re.match(r"(Load|Set)Credential(Encrypted)?=", line)
        ]
        for path, text in units(root).items()
    }
    assert {name: lines for name, lines in found.items() if lines} == {
        "mantlet-front.service": ["LoadCredential=tls.key:/run/mantlet/private/tls.key"]
    }
    # Debian's units import some; this drop-in of all services comes after them and empties the list.
    drop_in = root.text(f"{SYSTEM}/service.d/50-mantlet.conf")
    assert settings(drop_in, "ImportCredential") == [""]
    importing = [path for path, text in units(root).items() if any(settings(text, "ImportCredential"))]
    assert all(path.endswith(".service") for path in importing)


def test_no_credentials_are_stored(tree: Tree) -> None:
    assert [path for path in tree.entries if re.search(r"/credstore|/credentials?(/|$)", path)] == []


def test_each_service_of_ours_powers_off_when_it_fails(root: Tree) -> None:
    ours = {path: text for path, text in units(root).items() if "/mantlet-" in path}
    written = (project.root() / "agent/units").glob("mantlet-*.service*")
    assert {path.rsplit("/", 1)[1] for path in ours} == {path.name.removesuffix(".j2") for path in written}
    for path, text in ours.items():
        assert settings(text, "FailureAction")[-1].startswith("poweroff"), path


def test_systemd_finds_nothing_wrong_with_the_units(root: Tree, audit: Audit) -> None:
    argv = ("systemd-analyze", "verify", "--man=no", "--recursive-errors=yes", f"--root={root.folder}")
    names = ("default.target", "mantlet-front.service", "mantlet-runtime@model.service", "poweroff.target")
    audit.run(*argv, *names)


@pytest.mark.parametrize(
    ("unit", "most"),
    [
        ("mantlet-front.service", 2.0),
        ("mantlet-runtime@.service", 2.0),
        ("mantlet-serve.service", 2.5),
        ("mantlet-fuse.service", 2.5),
        ("mantlet-fetch.service", 2.0),
        # Privileged, argued setting by setting in the unit; it ends when the machine serves.
        ("mantlet-boot.service", 5.0),
    ],
)
def test_systemd_rates_the_sandbox_of_a_service(root: Tree, audit: Audit, unit: str, most: float) -> None:
    said = audit.run(
        "systemd-analyze", "security", "--no-pager", "--offline=true", f"--root={root.folder}", unit
    ).stdout.decode()
    (exposure,) = re.findall(r"Overall exposure level for \S+: ([0-9.]+)", said)
    assert 0 < float(exposure) <= most
