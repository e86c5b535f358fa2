# SPDX-License-Identifier: Apache-2.0
"""Tests of the entry that systemd-boot starts, on file systems with several."""

from typing import Any

import pytest

from mantlet.predict import fat
from mantlet.predict.loader_choice import choose, key_values, without_tries
from mantlet.predict.uki import UnpredictableError
from mantlet_measure.errors import DecodeError
from tests.unit.predict import media, synthetic
from tests.unit.predict.test_disk import entry

FOLDER = "EFI/Linux"
NAMELESS = entry("9", ID="", IMAGE_ID="", NAME="n")
MACHINE = b"title x\nsort-key aaa\nversion 99\nlinux /vmlinuz\n"


def _choose(artefacts: Any, files: dict[str, bytes], **options: Any) -> str:
    made = media.fat(artefacts, files, bits=16, name="choice")
    settings = {"configuration": None, "version": 262, **options}
    path, file = choose(fat.decode(memoryview(made)), **settings)
    assert path.rsplit("\\", 1)[-1].lower() == file.name.lower()
    return file.name


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        # The newest version of one sort key, compared as versions and not as text.
        ({"a.efi": entry("9"), "b.efi": entry("10")}, "b.efi"),
        ({"a.efi": entry("1.0~rc1"), "b.efi": entry("1.0")}, "b.efi"),
        # Sort keys ascend, whatever the version.
        ({"a.efi": entry("1", IMAGE_ID="zebra"), "b.efi": entry("2", IMAGE_ID="aardvark")}, "b.efi"),
        # Without IMAGE_ID and ID there is no sort key, and such entries come last.
        ({"a.efi": NAMELESS, "b.efi": entry("1")}, "b.efi"),
        # The same in all: the greater name.
        ({"a_1.efi": entry("1"), "a_2.efi": entry("1")}, "a_2.efi"),
        # An entry that used its tries up comes last.
        ({"a+0-3.efi": entry("2"), "b.efi": entry("1")}, "b.efi"),
        ({"a+1-2.efi": entry("2"), "b.efi": entry("1")}, "a+1-2.efi"),
        ({"a.efi": NAMELESS, "b.efi": NAMELESS}, "b.efi"),
        # One name, with counters: more tries left first, then fewer done.
        ({"a+1-0.efi": entry("1"), "a+2-0.efi": entry("1")}, "a+2-0.efi"),
        ({"a+2-1.efi": entry("1"), "a+2-0.efi": entry("1")}, "a+2-0.efi"),
        # One name, one without counters: as they stand in the directory.
        ({"a+2-1.efi": entry("1"), "a.efi": entry("1")}, "a+2-1.efi"),
        ({"a.efi": entry("1"), "a+2-1.efi": entry("1")}, "a.efi"),
        # What is no entry: other names, and a UKI that names no system.
        ({"auto-x.efi": entry("9"), "x.txt": b"", "b.efi": entry("1")}, "b.efi"),
        ({"a.efi": entry("9", ID="", IMAGE_ID=""), "b.efi": entry("1")}, "b.efi"),
        ({"a.efi": synthetic.uki({".text": b"x"}), "b.efi": entry("1")}, "b.efi"),
    ],
)
def test_entry_is_the_first_in_the_order_of_systemd_boot(
    artefacts: Any, entries: dict[str, bytes], expected: str
) -> None:
    files = {f"{FOLDER}/{name}": content for name, content in entries.items()}
    assert _choose(artefacts, files) == expected


TWO = {f"{FOLDER}/a.efi": entry("1"), f"{FOLDER}/b.efi": entry("2")}


@pytest.mark.parametrize(
    ("configuration", "version", "expected"),
    [
        (b"default a*\n", 262, "a.efi"),
        (b"  default\tA.EFI  \n", 262, "a.efi"),
        (b"default 'a.efi'\r\n", 262, "a.efi"),
        (b"# default a.efi\ndefault nothing-of-that-name\n", 262, "b.efi"),
        (b"default @saved\n", 262, "b.efi"),
        (b"default b.efi\npreferred a.efi\n", 262, "a.efi"),
        (b"default b.efi\npreferred a.efi\n", 259, "b.efi"),
        (b"default a.efi\ndefault b.efi\n", 262, "b.efi"),
    ],
)
def test_loader_conf_chooses_by_pattern(
    artefacts: Any, configuration: bytes, version: int, expected: str
) -> None:
    assert _choose(artefacts, TWO, configuration=configuration, version=version) == expected


def test_preferred_entry_without_tries_left_is_passed_over(artefacts: Any) -> None:
    files = {f"{FOLDER}/a+0-1.efi": entry("1"), f"{FOLDER}/b.efi": entry("2")}
    assert _choose(artefacts, files, configuration=b"preferred a.efi\n") == "b.efi"
    assert _choose(artefacts, files, configuration=b"default a.efi\n") == "a+0-1.efi"


def test_wanted_entry_may_be_given_by_name_or_path(artefacts: Any) -> None:
    assert _choose(artefacts, TWO, wanted="A.efi") == "a.efi"
    assert _choose(artefacts, TWO, wanted="EFI/Linux/a.efi") == "a.efi"


def test_entry_of_type_1_that_would_win_is_refused_and_one_that_would_not_is_passed_over(
    artefacts: Any,
) -> None:
    winning = TWO | {"loader/entries/first.conf": MACHINE}
    with pytest.raises(UnpredictableError, match=r"first\.conf"):
        _choose(artefacts, winning)
    assert _choose(artefacts, winning, wanted="a.efi") == "a.efi"
    hidden = TWO | {"loader/entries/auto-first.conf": MACHINE, "loader/entries/first.txt": MACHINE}
    assert _choose(artefacts, hidden) == "b.efi"
    losing = TWO | {"loader/entries/last.conf": MACHINE.replace(b"aaa", b"zzz")}
    assert _choose(artefacts, losing) == "b.efi"


@pytest.mark.parametrize("pattern", [b"a.efi@debug", b"a\\*"])
def test_pattern_that_chooses_more_than_a_file_is_refused(artefacts: Any, pattern: bytes) -> None:
    with pytest.raises(UnpredictableError, match="without profile"):
        _choose(artefacts, TWO, configuration=b"default " + pattern)


def test_disk_without_entries_is_refused(artefacts: Any) -> None:
    with pytest.raises(DecodeError, match="an entry in"):
        _choose(artefacts, {"loader/loader.conf": b""})


def test_folder_of_more_entries_than_the_limit_is_refused(
    artefacts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mantlet.predict.loader_choice._ENTRIES_LIMIT", 1)
    with pytest.raises(DecodeError, match="at most 1 files"):
        _choose(artefacts, TWO)


def test_loader_conf_over_its_limit_is_refused() -> None:
    with pytest.raises(DecodeError, match="at most"):
        key_values(bytes(1 << 17), " ", what="loader.conf")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("foobar+3.efi", "foobar.efi"),
        ("foobar+3-1.efi", "foobar.efi"),
        ("a+b+4-0.efi", "a+b.efi"),
        ("foobar+x.efi", "foobar+x.efi"),
        ("foobar+3-1-2.efi", "foobar+3-1-2.efi"),
        ("foobar.efi", "foobar.efi"),
    ],
)
def test_boot_counters_are_cut_from_names(name: str, expected: str) -> None:
    assert without_tries(name) == expected
