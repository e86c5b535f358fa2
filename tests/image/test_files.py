# SPDX-License-Identifier: Apache-2.0
"""What lies in the root and in the initrd: what the keep lists name, with no more rights than it needs."""

import re
import stat

import pytest

from mantlet.edge import project, recipe
from tests.image import keep
from tests.image.conftest import Audit
from tests.image.unpacked import Tree

PROGRAMS = {
    "root": {
        "/usr/bin/kmod",
        "/usr/bin/llama-server",
        "/usr/bin/mount",
        "/usr/bin/python3",
        "/usr/bin/python3.14",
        "/usr/bin/systemctl",
        "/usr/bin/systemd-tmpfiles",
        "/usr/bin/udevadm",
        "/usr/bin/umount",
        "/usr/sbin/modinfo",
        "/usr/sbin/nginx",
    },
    "initrd": {
        "/usr/bin/kmod",
        "/usr/bin/mount",
        "/usr/bin/systemctl",
        "/usr/bin/udevadm",
        "/usr/sbin/dmsetup",
        "/usr/sbin/modprobe",
    },
}
# By name, wherever it lies: a way in, a way to fetch, a way to run what the image does not hold.
# fmt: off
FORBIDDEN = frozenset(
    {
        "ash", "bash", "busybox", "csh", "dash", "fish", "ksh", "sh", "zsh", "rbash", "agetty",
        "getty", "login", "nologin", "su", "sudo", "doas", "pkexec", "run0", "sulogin", "ssh", "sshd",
        "dropbear", "telnet", "telnetd", "nc", "ncat", "netcat", "socat", "curl", "wget", "ftp",
        "tftp", "rsync", "scp", "apt", "apt-get", "aptitude", "dpkg", "pip", "pip3", "easy_install",
        "perl", "ruby", "node", "lua", "tclsh", "awk", "mawk", "gawk", "gdb", "strace", "ltrace",
        "tcpdump", "screen", "tmux", "systemd-run", "systemd-nspawn", "systemd-sysext",
        "systemd-confext", "machinectl", "loginctl", "debugfs", "rpc-server", "chroot", "llama-cli",
        "ggml-rpc-server", "unshare", "nsenter", "setpriv", "passwd", "chpasswd", "crontab", "cron",
        "at",
    }
)
# fmt: on
BYTE_CODE = re.compile(r"/__pycache__/([^/]+)\.cpython-314\.pyc$")
LIBRARIES = ("/usr/lib/x86_64-linux-gnu",)
# Links that point into the boot partition, which mkosi reads and the root partition leaves out.
LEFT_OUT = {"/boot/vmlinuz", "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"}


def source_of(path: str) -> str:
    """The source that byte code was compiled from; any other path as it is."""
    return BYTE_CODE.sub(r"/\1.py", path)


def test_no_file_is_setuid_or_setgid(tree: Tree) -> None:
    assert [path for path, entry in tree.entries.items() if entry.mode & (stat.S_ISUID | stat.S_ISGID)] == []


def test_no_file_has_a_capability_or_another_extended_attribute(root: Tree) -> None:
    assert {path: entry.extended for path, entry in root.entries.items() if entry.extended} == {}


def test_each_file_is_roots(tree: Tree) -> None:
    owners = {path: (entry.owner, entry.group) for path, entry in tree.entries.items()}
    assert {path: owner for path, owner in owners.items() if owner != (0, 0)} == {}


def test_nothing_can_be_written_by_others(tree: Tree) -> None:
    writable = {
        path
        for path, entry in tree.entries.items()
        if not entry.is_link and entry.mode & (stat.S_IWGRP | stat.S_IWOTH)
    }
    # An empty folder that a tmpfs covers.
    assert writable <= {"/tmp"}


def test_there_are_files_folders_and_links_and_no_devices(tree: Tree) -> None:
    special = [
        path
        for path, entry in tree.entries.items()
        if not (entry.is_file or entry.is_directory or entry.is_link)
    ]
    assert special == []


def test_each_file_is_named_by_the_keep_list(tree: Tree) -> None:
    declared = keep.lines(tree.name)
    strange = [
        path
        for path in tree.below("")
        if not keep.named(source_of(path), declared)
        and not path.startswith((*LIBRARIES, "/usr/lib/modules/"))
    ]
    assert strange == []


def test_each_line_of_the_keep_list_keeps_something(tree: Tree) -> None:
    idle = []
    for line in keep.lines(tree.name):
        if line.startswith("!") or line in LEFT_OUT:
            continue
        matches = keep.pattern(line.removesuffix("/")).fullmatch
        if not any(matches(path) for path in tree.entries):
            idle.append(line)
    assert idle == []


def test_each_library_is_a_library(tree: Tree) -> None:
    folder = f"{LIBRARIES[0]}/"
    assert [
        path
        for path in tree.below(*LIBRARIES)
        if not (path.endswith(".so") or ".so." in path.removeprefix(folder))
    ] == []


def test_no_link_leads_nowhere(tree: Tree) -> None:
    dead = [
        path
        for path, entry in tree.entries.items()
        if entry.is_link and entry.target != "/dev/null" and tree.resolve(path) is None
    ]
    assert [path for path in dead if not path.endswith("/vmlinuz")] == []


def test_the_programs_are_these(tree: Tree) -> None:
    assert set(tree.below("/usr/bin", "/usr/sbin")) == PROGRAMS[tree.name]
    assert tree.below("/bin", "/sbin", "/opt", "/usr/local", "/home", "/root", "/srv") == []


def test_no_shell_no_login_and_no_interpreter_but_python(tree: Tree) -> None:
    names = {path: path.rsplit("/", 1)[1] for path in tree.below("") if path != "/etc/passwd"}
    assert [path for path, name in names.items() if name in FORBIDDEN] == []


def test_what_can_be_executed_is_machine_code(tree: Tree) -> None:
    executable = [path for path, entry in tree.entries.items() if entry.is_file and entry.mode & 0o111]
    assert executable
    assert [path for path in executable if tree.read(path)[:4] != b"\x7fELF"] == []


def test_nothing_tells_where_it_was_built(tree: Tree) -> None:
    place = f"{project.root()}/".encode()
    files = [path for path in tree.below("") if tree.entries[path].is_file]
    assert [path for path in files if place in tree.read(path)] == []


def test_no_host_is_named_but_the_machine_itself(root: Tree, parameters: dict[str, object]) -> None:
    assert root.text("/etc/hostname").strip() == parameters["id"]
    lines = [line.split() for line in root.text("/etc/hosts").splitlines() if line and line[0] != "#"]
    names = {name for _, *names in lines for name in names}
    assert {name for name in names if name != "localhost" and not name.startswith("ip6-")} == set()


def test_nothing_is_younger_than_its_commit(root: Tree) -> None:
    epoch = recipe.version(project.root()).epoch
    times = {path: (root.folder / path[1:]).lstat().st_mtime for path in root.below("")}
    assert {path: time for path, time in times.items() if time > epoch} == {}


def test_the_machine_is_not_told_apart_by_an_id(root: Tree, parameters: dict[str, object]) -> None:
    assert root.text("/etc/machine-id").strip() == str(parameters["machine_id"]).replace("-", "")


@pytest.mark.parametrize(
    ("name", "limit"), [("disk.raw", 200_000_000), ("uki.efi", 35_000_000), ("root.raw", 100_000_000)]
)
def test_the_image_is_small(audit: Audit, name: str, limit: int) -> None:
    assert audit.path(name).stat().st_size <= limit
