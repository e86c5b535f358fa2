# SPDX-License-Identifier: Apache-2.0
"""Trees follow links as the machine would, and units are found as systemd finds them."""

import pytest

from mantlet.audit import units
from mantlet.audit.tree import Setting, Tree
from tests.unit.audit.images import SYSTEM, file, folder, link, tree


def made(**files: str) -> Tree:
    """A tree of links (`-> target`) and files, by their names in /etc."""
    return tree(
        "root",
        {
            f"/etc/{name}": link(text.removeprefix("-> ")) if text.startswith("-> ") else file(text)
            for name, text in files.items()
        },
        None,
    )


@pytest.mark.parametrize(
    ("target", "place"),
    [
        ("file", "/etc/file"),
        ("/etc/file", "/etc/file"),
        ("../etc/./file", "/etc/file"),
        ("../../../etc/file", "/etc/file"),
        ("missing", None),
        ("a", None),
        ("/", "/"),
    ],
)
def test_a_link_leads_where_the_kernel_would_go(target: str, place: str | None) -> None:
    assert made(a=f"-> {target}", file="x").resolve("/etc/a") == place


def test_links_in_a_circle_lead_nowhere() -> None:
    assert made(a="-> b", b="-> a").resolve("/etc/a") is None


def test_a_link_to_a_folder_is_followed_inside_a_path() -> None:
    linked = tree("root", {"/bin": link("usr/bin"), "/usr/bin/x": file("x")}, None)
    assert linked.resolve("/bin/x") == "/usr/bin/x"
    assert linked.text("/bin/x") == "x"


def test_what_lies_below_a_folder_is_not_what_has_a_longer_name() -> None:
    found = tree("root", {"/a/b": file(), "/a-c": file(), "/a0": file(), "/a/b.d/c": file()}, None)
    assert found.below("/a") == ("/a/b", "/a/b.d/c")
    assert found.children("/a") == ("/a/b",)


def test_settings_know_their_section_and_continued_lines_are_one() -> None:
    text = "# note\n[Service]\nExecStart=/a \\\n  b\n; note\n[Install]\nWantedBy = x\n"
    assert list(made(u=text).settings("/etc/u")) == [
        Setting("Service", "ExecStart", "/a    b"),
        Setting("Install", "WantedBy", "x"),
    ]


def test_of_drop_ins_of_one_name_the_one_in_etc_counts_and_the_last_name_wins() -> None:
    found = tree(
        "root",
        {
            "/usr/lib/sysctl.d/10.conf": file("vendor"),
            "/usr/lib/sysctl.d/20.conf": file("other"),
            "/usr/lib/sysctl.d/30.conf": file("hidden"),
            "/usr/lib/sysctl.d/readme": file("no"),
            "/etc/sysctl.d/10.conf": file("ours"),
            "/etc/sysctl.d/30.conf": link("/dev/null"),
        },
        None,
    )
    assert found.drop_ins("sysctl.d", ".conf") == ("/etc/sysctl.d/10.conf", "/usr/lib/sysctl.d/20.conf")


def test_a_boot_starts_what_targets_folders_sockets_and_failures_pull_in() -> None:
    found = units.of(
        tree(
            "root",
            {
                f"{SYSTEM}/default.target": link("m.target"),
                f"{SYSTEM}/m.target": file("[Unit]\nWants=a.service\n"),
                f"{SYSTEM}/a.service": file("[Unit]\nOnFailure=f.target\n"),
                f"{SYSTEM}/f.target": file("[Unit]\n"),
                f"{SYSTEM}/m.target.d/x.conf": file("[Unit]\nRequires=i@1.service\n"),
                f"{SYSTEM}/i@.service": file("[Unit]\nWants=of-%i.service\n"),
                f"{SYSTEM}/of-1.service": file("[Service]\n"),
                f"{SYSTEM}/default.target.wants/s.socket": link("../s.socket"),
                f"{SYSTEM}/s.socket": file("[Socket]\n"),
                f"{SYSTEM}/s.service": file("[Service]\n"),
                f"{SYSTEM}/sysinit.target": file("[Unit]\nWants=masked.service missing.service\n"),
                f"{SYSTEM}/masked.service": file("[Service]\n"),
                "/etc/systemd/system/masked.service": link("/dev/null"),
                f"{SYSTEM}/idle.service": file("[Service]\n"),
            },
            None,
        )
    )
    assert found.started() == {
        "m.target", "a.service", "f.target", "i@1.service", "of-1.service", "s.socket", "s.service",
        "sysinit.target",
    }  # fmt: skip


def test_the_stronger_folder_has_the_unit_and_drop_ins_of_both_are_read() -> None:
    found = units.of(
        tree(
            "root",
            {
                f"{SYSTEM}/a.service": file("[Service]\nUser=vendor\n"),
                "/etc/systemd/system/a.service": file("[Service]\nUser=ours\n"),
                f"{SYSTEM}/service.d/1.conf": file("[Service]\nGroup=all\n"),
                f"{SYSTEM}/a.service.d/1.conf": file("[Service]\nGroup=one\n"),
                "/etc": folder(),
            },
            None,
        )
    )
    assert [setting.value for setting in found.settings("a.service")] == ["ours", "all", "one"]
