# SPDX-License-Identifier: Apache-2.0
"""What udev's rules run is read as udev reads them, and found when it runs a text of others."""

import pytest

from mantlet.audit import udev
from mantlet.audit.checks import CHECKS
from mantlet.audit.tree import Node, Tree
from tests.unit.audit.images import POLICY, file, image, link, program, subjects, tree

RULES = "/usr/lib/udev/rules.d/50-a.rules"


def system(**files: Node) -> Tree:
    """A tree of these files, by their place with underscores for slashes."""
    return tree("root", {f"/{name.replace('__', '/')}": node for name, node in files.items()}, None)


def named(text: str) -> list[tuple[str, bool]]:
    """The programs that rules of this text run, and whether the rules say which."""
    held = tree("root", {RULES: file(text)}, None)
    return [(run.program, run.known) for run in udev.runs(held)]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('RUN+="/bin/a -x $name"', "/bin/a"),
        ('RUN="/bin/a"', "/bin/a"),
        ('RUN:="/bin/a"', "/bin/a"),
        ('RUN{program}+="/bin/a"', "/bin/a"),
        ('KERNEL=="sd*", PROGRAM="/bin/a", RESULT=="x"', "/bin/a"),
        ('PROGRAM!="/bin/a"', "/bin/a"),
        ('IMPORT{program}="/bin/a"', "/bin/a"),
        ('IMPORT{program}=="ata_id --export $devnode"', "/usr/lib/udev/ata_id"),
        ("RUN+=\"'/opt/my a' b\"", "/opt/my a"),
        ('RUN+="\\"/opt/my a\\" b"', "/opt/my a"),
        ('RUN+=e"/bin/a"', "/bin/a"),
    ],
)
def test_a_program_of_a_rule_is_found(line: str, found: str) -> None:
    assert named(line) == [(found, True)]


@pytest.mark.parametrize(
    "line",
    [
        'RUN{builtin}+="kmod load"',
        'IMPORT{builtin}="blkid"',
        'IMPORT{db}="NAME"',
        'RUN-="/bin/a"',
        'RUN=""',
        'ENV{RUN}="/bin/a"',
        '# RUN+="/bin/a"',
        'RUN+="$env{NOBODY_SETS_IT}"',
    ],
)
def test_what_starts_nothing_is_not_taken_for_a_program(line: str) -> None:
    assert named(line) == []


@pytest.mark.parametrize("name", ["$env{CMD}", "%E{CMD}"])
def test_a_property_that_rules_set_is_followed(name: str) -> None:
    assert named(f'RUN+="{name}"\nENV{{CMD}}="/bin/a b"\nENV{{CMD}}=="/bin/c"') == [("/bin/a", True)]


@pytest.mark.parametrize(
    "text",
    ['RUN+="/lib/x/$kernel"', 'RUN+="%c"', 'RUN+="$env{A}"\nENV{A}="$env{B}"\nENV{B}="/bin/a"'],
)
def test_what_a_device_names_is_said_to_be_unknown(text: str) -> None:
    assert [known for _, known in named(text)] == [False]


def test_a_line_goes_on_past_comments_and_a_comment_does_not_go_on() -> None:
    text = '# one \\\nRUN+="/bin/a", \\\n# two \\\n  RUN+="/bin/b"\nRUN+="/bin/c" \\'
    assert [program for program, _ in named(text)] == ["/bin/a", "/bin/b", "/bin/c"]


def test_of_one_name_the_strongest_file_counts_and_a_link_to_nothing_masks() -> None:
    held = system(
        **{
            "usr__lib__udev__rules.d__1.rules": file('RUN+="/bin/a"'),
            "usr__lib__udev__rules.d__2.rules": file('RUN+="/bin/b"'),
            "usr__lib__udev__rules.d__3.rules": file('RUN+="/bin/c"'),
            "usr__lib__udev__rules.d__4.txt": file('RUN+="/bin/d"'),
            "run__udev__rules.d__1.rules": file('RUN+="/bin/e"'),
            "etc__udev__rules.d__1.rules": file('RUN+="/bin/f"'),
            "etc__udev__rules.d__2.rules": link("/dev/null"),
        },
    )
    assert [run.program for run in udev.runs(held)] == ["/bin/f", "/bin/c"]


def test_programs_are_the_files_behind_links_and_what_is_not_there_is_none() -> None:
    held = system(
        **{
            "etc__udev__rules.d__1.rules": file(
                'RUN+="/bin/a"\nRUN+="/bin/gone"\nPROGRAM="id"\nRUN+="/etc/x"'
            ),
            "bin": link("usr/bin"),
            "usr__bin__a": link("b"),
            "usr__bin__b": program(),
            "lib__udev__id": program(),
            "etc__x": file("no program"),
        }
    )
    assert sorted(udev.programs(held)) == ["/lib/udev/id", "/usr/bin/b"]


@pytest.mark.parametrize(
    ("line", "files", "found"),
    [
        ("/usr/bin/dash -c x", {"/usr/bin/dash": program()}, "a shell or an interpreter"),
        (
            "/usr/bin/run",
            {"/usr/bin/run": link("python3.14"), "/usr/bin/python3.14": program()},
            "interpreter",
        ),
        ("/usr/bin/cat", {"/usr/bin/cat": link("busybox"), "/usr/bin/busybox": program()}, "a shell"),
        ("/usr/bin/x", {"/usr/bin/x": program(b"#!/bin/sh\n")}, "a script"),
        ("/run/x", {}, "written"),
        ("/usr/bin/$name", {}, "a device names"),
    ],
)
def test_a_program_that_runs_a_text_of_others_is_a_finding(
    line: str, files: dict[str, Node | None], found: str
) -> None:
    (finding,) = CHECKS["device-programs"](image({RULES: file(f'RUN+="{line}"'), **files}), POLICY)
    assert found in finding.found
    assert finding.subject == f"root:{RULES} {line.split()[0]}"


@pytest.mark.parametrize("line", ["/usr/bin/dash -c x", "/usr/bin/agent"])
def test_a_shell_that_is_not_there_and_a_plain_program_are_no_finding(line: str) -> None:
    assert subjects(CHECKS["device-programs"](image({RULES: file(f'RUN+="{line}"')}), POLICY)) == []
