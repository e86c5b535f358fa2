# SPDX-License-Identifier: Apache-2.0
"""Who exists in the image: nobody who could log in."""

import pytest

from tests.image.unpacked import Tree

LOCKED = {"*", "!", "!*", "!!"}


def table(tree: Tree, path: str) -> dict[str, list[str]]:
    rows = [line.split(":") for line in tree.text(path).splitlines()]
    named = {row[0]: row for row in rows}
    assert len(named) == len(rows)
    return named


def test_no_account_has_a_password(tree: Tree) -> None:
    shadow = table(tree, "/etc/shadow") if "/etc/shadow" in tree.entries else {}
    accounts = table(tree, "/etc/passwd")
    assert "root" in accounts
    for name, row in accounts.items():
        # Where the password is elsewhere (`x`) and elsewhere is missing, nothing matches it.
        password = shadow[name][1] if name in shadow else {"x": "!"}.get(row[1], row[1])
        assert password in LOCKED, name
    assert shadow.keys() <= accounts.keys()


def test_no_account_has_a_shell_that_exists(tree: Tree) -> None:
    shells = {name: row[6] for name, row in table(tree, "/etc/passwd").items()}
    assert {name: shell for name, shell in shells.items() if not shell or tree.resolve(shell)} == {}


def test_one_account_is_root(tree: Tree) -> None:
    numbers = {name: row[2] for name, row in table(tree, "/etc/passwd").items()}
    assert [name for name, number in numbers.items() if number == "0"] == ["root"]
    assert len(set(numbers.values())) == len(numbers)


@pytest.mark.parametrize(
    ("user", "number", "group"),
    [
        *(("mantlet-serve", 931, 935), ("mantlet-front", 932, 932), ("mantlet-runtime", 933, 932)),
        *(("mantlet-fuse", 936, 936), ("mantlet-fetch", 937, 937)),
    ],
)
def test_the_users_of_the_services_have_fixed_numbers(root: Tree, user: str, number: int, group: int) -> None:
    row = table(root, "/etc/passwd")[user]
    assert row[2:4] == [str(number), str(group)]


def test_groups_of_ours_have_fixed_numbers_and_no_group_has_members(root: Tree) -> None:
    groups = table(root, "/etc/group")
    assert {name: row[2] for name, row in groups.items() if name.startswith("mantlet")} == {
        "mantlet-evidence": "935",
        "mantlet-fetch": "937",
        "mantlet-front": "932",
        "mantlet-fuse": "936",
        "mantlet-tpm": "934",
    }
    assert {name: row[3] for name, row in groups.items() if row[3]} == {}
    assert {name: row for name, row in table(root, "/etc/gshadow").items() if row[1] not in LOCKED} == {}


def test_names_are_looked_up_in_files_alone(root: Tree) -> None:
    sources = dict(
        line.split(":", 1)
        for line in root.text("/etc/nsswitch.conf").splitlines()
        if line and not line.startswith("#")
    )
    for database in ("passwd", "group", "shadow", "gshadow"):
        assert sources[database].split() == ["files"]
