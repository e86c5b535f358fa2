# SPDX-License-Identifier: Apache-2.0
"""Tests of what a UKI says of itself, and of the UKIs that nobody can predict."""

import pytest

from mantlet.predict import uki
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


def test_uki_that_says_little_of_itself_is_taken() -> None:
    image = _with(osrel=None, cmdline=None, initrd=None, uname=None)
    assert (image.cmdline, image.image_id, image.image_version, image.roothash) == ("", "", "", b"")


@pytest.mark.parametrize(
    "cmdline", ["quiet", "roothash=ab", f"{CMDLINE} roothash={ROOTHASH}", f"roothash={ROOTHASH.upper()}"]
)
def test_line_that_names_no_one_root_names_none(cmdline: str) -> None:
    assert _with(cmdline=cmdline.encode()).roothash == b""


@pytest.mark.parametrize(
    "changes",
    [
        {"linux": None},
        {"linux": b""},
        {"sdmagic": None},
        {"sdmagic": b"#### LoaderInfo: systemd-boot 262 ####"},
        {"cmdline": CMDLINE.encode() + b"\xff"},
        {"cmdline": bytes(70000)},
        {"osrel": b"IMAGE_ID=\xff\n"},
        {"osrel": bytes(70000)},
    ],
)
def test_uki_that_lacks_or_muddles_a_section_is_refused(changes: dict[str, bytes | None]) -> None:
    with pytest.raises(DecodeError, match="UKI"):
        _with(**changes)
