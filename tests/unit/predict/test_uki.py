# SPDX-License-Identifier: Apache-2.0
"""Tests of what a UKI says of itself, and of the UKIs that nobody can predict."""

import pytest

from mantlet.predict import uki
from mantlet.predict.uki import UnpredictableError
from mantlet_measure.errors import DecodeError
from tests.unit.predict import synthetic
from tests.unit.predict.synthetic import CMDLINE, ROOTHASH, sections


def _with(**changes: bytes | None) -> uki.Uki:
    return uki.decode(synthetic.uki(sections(**changes)))


def test_uki_names_its_image_and_its_root() -> None:
    image = _with()
    assert (image.image_id, image.image_version, image.stub) == ("mantlet", "0.1.0", 262)
    assert (image.cmdline, image.roothash.hex()) == (CMDLINE, ROOTHASH)


def test_command_line_is_mangled_as_the_stub_mangles_it() -> None:
    text = f"\t console=null\x01\x7fa  b roothash={ROOTHASH}\n\n\0 ignored"
    assert _with(cmdline=text.encode()).cmdline == f"console=null  a  b roothash={ROOTHASH}"


def test_quoted_os_release_value_loses_its_quotes() -> None:
    assert _with(osrel=b"# IMAGE_ID=no\nIMAGE_ID=\"a\"\nIMAGE_VERSION='1'\n").image_id == "a"


@pytest.mark.parametrize("version", ["258", "259~rc1", "262-1", "261.4-2"])
def test_stub_of_a_checked_version_is_taken(version: str) -> None:
    magic = f"#### LoaderInfo: systemd-stub {version} ####".encode()
    assert str(_with(sdmagic=magic).stub) == version[:3]


@pytest.mark.parametrize(
    ("version", "why"), [("252.39", "inner kernel"), ("257-1", "inner kernel"), ("263", "nobody has checked")]
)
def test_stub_of_another_version_is_refused_with_what_must_be_checked(version: str, why: str) -> None:
    with pytest.raises(UnpredictableError, match=why) as refused:
        _with(sdmagic=f"#### LoaderInfo: systemd-stub {version} ####".encode())
    assert refused.value.hint


@pytest.mark.parametrize("section", ["profile", "dtbauto", "hwids", "efifw"])
def test_section_that_the_stub_chooses_at_run_time_is_refused(section: str) -> None:
    with pytest.raises(UnpredictableError, match=section):
        _with(**{section: b"x"})


def test_command_line_without_a_console_is_refused() -> None:
    with pytest.raises(UnpredictableError, match="console="):
        _with(cmdline=f"roothash={ROOTHASH}".encode())


@pytest.mark.parametrize(
    "changes",
    [
        {"linux": None},
        {"linux": b""},
        {"initrd": None},
        {"cmdline": None},
        {"osrel": None},
        {"sdmagic": None},
        {"sdmagic": b"#### LoaderInfo: systemd-boot 262 ####"},
        {"cmdline": b"console=null"},
        {"cmdline": b"console=null roothash=ab"},
        {"cmdline": f"{CMDLINE} roothash={ROOTHASH}".encode()},
        {"cmdline": f"{CMDLINE} é".encode()},
        {"cmdline": CMDLINE.encode() + b"\xff"},
        {"cmdline": bytes(70000)},
        {"osrel": b"IMAGE_ID=mantlet\n"},
        {"osrel": b"IMAGE_ID=\nIMAGE_VERSION=1\n"},
    ],
)
def test_uki_that_lacks_or_muddles_a_section_is_refused(changes: dict[str, bytes | None]) -> None:
    with pytest.raises(DecodeError, match="UKI"):
        _with(**changes)
