# SPDX-License-Identifier: Apache-2.0
"""Tests of `diff`: what moved, what is behind it, and the lines for the changelog."""

import json

import pytest

from mantlet.explain import inventory
from mantlet.explain.builds import Build, changelog, difference, difference_to_value
from mantlet_measure.errors import DecodeError
from tests.unit.explain.scenes import CMDLINE, expected, scene
from tests.unit.predict.boots import image


def build(packages: dict[str, str], cmdline: str = CMDLINE, **facts: object) -> Build:
    """A build with these packages in its root."""
    listed = [
        {"name": name, "version": version, "architecture": "amd64"} for name, version in packages.items()
    ]
    return Build(
        account=expected(scene(release=image(262, cmdline=cmdline.encode()))),
        packages=inventory.decode_packages(json.dumps({"root": listed}).encode()),
        **facts,  # type: ignore[arg-type]  # any member
    )


def test_equal_builds_need_no_new_reference_values() -> None:
    found = difference(build({"a": "1"}), build({"a": "1"}))
    assert found.equal
    assert list(changelog(found)) == [
        "- No register moved: reference values and approvals of the release before stay good."
    ]
    assert found.unknown == (
        "units: not in both folders",
        "kernel version and size of the UKI: not in both folders",
    )


def test_packages_that_came_went_and_changed_are_named() -> None:
    found = difference(build({"a": "1", "b": "1"}), build({"b": "2", "c": "1"}))
    assert [item.words for item in found.packages] == [
        "a 1 is gone from root",
        "b in root: 1 became 2",
        "c 1 is new in root",
    ]
    assert not found.equal


def test_changelog_names_registers_reason_and_what_is_behind() -> None:
    other = CMDLINE.replace("lockdown=confidentiality", "lockdown=none")
    old = build({"linux": "1"}, kernel="7.2.1", uki_size=10)
    new = build({"linux": "2"}, other, kernel="7.2.2", uki_size=12)
    found = difference(old, new)
    lines = list(changelog(found))
    assert lines[0] == (
        "- Registers 4 (boot-loader-code), 9 (kernel-initrd) and 11 (kernel-boot): section .cmdline differs: "
        "`lockdown=confidentiality` became `lockdown=none`."
    )
    assert lines[-1] == "- Behind it: kernel 7.2.1 became 7.2.2; packages changed: linux."
    assert [(fact.name, fact.old, fact.new) for fact in found.facts] == [
        ("kernel", "7.2.1", "7.2.2"),
        ("UKI size", "10 bytes", "12 bytes"),
    ]
    assert json.loads(json.dumps(difference_to_value(found)))["packages"][0]["change"] == "changed"


def _units(files: dict[str, str]) -> inventory.Inventory:
    return inventory.units(inventory.decode_contents(json.dumps({"root": files}).encode()))


def test_units_are_the_unit_files_of_the_contents() -> None:
    digest = "ab" * 32
    path = "usr/lib/systemd/system/x.service"
    wanted = "etc/systemd/system/multi-user.target.wants/x.service"
    files = {path: digest, "usr/bin/x": digest, wanted: "-> /usr/lib/systemd/system/x.service"}
    assert _units(files) == {"root": {"x.service": digest, wanted: "-> /usr/lib/systemd/system/x.service"}}


def test_unit_that_came_went_or_changed_is_said_in_words() -> None:
    folder = "usr/lib/systemd/system"
    old = _units({f"{folder}/gone.service": "aa" * 32, f"{folder}/other.service": "bb" * 32})
    new = _units({f"{folder}/other.service": "cc" * 32, f"{folder}/masked.service": "-> /dev/null"})
    assert [item.words for item in inventory.difference(old, new)] == [
        "gone.service aaaaaaaaaaaa… is gone from root",
        "masked.service -> /dev/null is new in root",
        "other.service in root: bbbbbbbbbbbb… became cccccccccccc…",
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"[]",
        b"{}",
        b'{"root":{}}',
        b'{"root":[{"name":"a","version":"1"}]}',
        b'{"root":[{"name":"a","version":"1","architecture":"b","more":1}]}',
        b'{"ROOT":[]}',
    ],
)
def test_package_list_of_another_form_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError, match=r"packages\.json"):
        inventory.decode_packages(data)


@pytest.mark.parametrize("data", [b"[]", b'{"root":[]}', b'{"root":{"a":"b"}}'])
def test_contents_of_another_form_are_refused(data: bytes) -> None:
    with pytest.raises(DecodeError, match=r"contents\.json"):
        inventory.decode_contents(data)
