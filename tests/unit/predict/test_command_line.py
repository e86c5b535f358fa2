# SPDX-License-Identifier: Apache-2.0
"""Tests of the kernel command line: what each release takes, what it measures, what the kernel gets.

Expectations follow systemd's src/boot/stub.c at the tags v252.39 to v262, read side by side.
"""

import hashlib

import pytest

from mantlet.predict import initrd, kernel_config, pe, uki
from mantlet.predict.boot import Basis, Loader
from mantlet.predict.command_line import ADDONS, LOAD_OPTIONS, SMBIOS, CommandLine, Taken, command_line
from mantlet_measure.errors import DecodeError
from mantlet_measure.pcr import Bank
from tests.unit.predict import synthetic
from tests.unit.predict.boots import RELEASES, addon, boot, image, sha256, utf16

OWN = "console=null own"


def _uki(release: int | str, cmdline: bytes | None = OWN.encode()) -> uki.Uki:
    return image(release, cmdline=cmdline)


def _line(release: int | str, cmdline: bytes | None = OWN.encode(), **changes: object) -> CommandLine:
    return command_line(boot(_uki(release, cmdline), **changes))


@pytest.mark.parametrize("release", RELEASES)
def test_line_of_the_uki_alone_is_not_measured_into_register_12(release: int) -> None:
    assert _line(release) == CommandLine(whole=OWN, taken=())
    assert kernel_config.events(boot(_uki(release))).events == ()


@pytest.mark.parametrize(
    ("release", "expected"),
    [(254, "  a  b\x7f"), (255, "a  b"), (262, "a  b")],
)
def test_blanks_are_mangled_as_the_release_mangles_them(release: int, expected: str) -> None:
    assert uki.mangled("\t a\x01\x1fb\x7f \n", release) == expected


@pytest.mark.parametrize(("release", "expected"), [(254, ""), (256, " \n"), (257, "")])
def test_line_of_nothing_but_blanks(release: int, expected: str) -> None:
    assert uki.mangled(" \n", release) == expected


@pytest.mark.parametrize("release", RELEASES)
def test_load_options_replace_the_line_only_without_secure_boot(release: int) -> None:
    given = "console=null given"
    refused = _line(release, load_options=given)
    taken = _line(release, load_options=given, secure=False)
    assert (refused.whole, refused.taken) == (OWN, ())
    assert taken.whole == given
    assert taken.taken == (Taken(text=given, source=LOAD_OPTIONS),)


@pytest.mark.parametrize("release", RELEASES)
def test_load_options_are_taken_under_secure_boot_where_the_uki_has_no_line(release: int) -> None:
    assert _line(release, None, load_options="console=null given").whole == "console=null given"


@pytest.mark.parametrize(
    ("release", "whole"),
    [("254", "console=x"), ("254.2", None), ("255", None), ("262", None)],
)
def test_confidential_machine_takes_no_load_options_under_secure_boot(
    release: str, whole: str | None
) -> None:
    assert _line(release, None, load_options="console=x", confidential=True).whole == whole


def test_load_options_of_binary_data_are_judged_by_the_first_character_until_258() -> None:
    options = "console=a\x01b"
    assert _line(258, load_options=options, secure=False).whole == "console=a b"
    assert _line(259, load_options=options, secure=False).whole == OWN
    assert _line(252, load_options="\x01", secure=False).whole == OWN
    assert _line(262, load_options="", secure=False).whole == OWN


def test_blank_load_options_count_until_256() -> None:
    assert _line(254, load_options="  ", secure=False).taken == (Taken(text="", source=LOAD_OPTIONS),)
    assert _line(257, load_options="  ", secure=False) == CommandLine(whole=OWN, taken=())


@pytest.mark.parametrize("release", RELEASES)
def test_line_from_smbios_is_taken_since_254_whatever_secure_boot_says(release: int) -> None:
    line = _line(release, smbios_cmdline="extra=1")
    assert line.taken == (() if release < 254 else (Taken(text="extra=1", source=SMBIOS),))
    assert line.whole == (OWN if release < 254 else f"{OWN} extra=1")
    assert _line(release, smbios_cmdline="extra=1", confidential=True).taken == ()


def test_line_from_smbios_is_mangled_since_257_and_a_blank_one_ignored() -> None:
    assert _line(256, smbios_cmdline=" extra ").taken == (Taken(text=" extra ", source=SMBIOS),)
    assert _line(257, smbios_cmdline=" extra ").taken == (Taken(text="extra", source=SMBIOS),)
    assert _line(257, smbios_cmdline=" ") == CommandLine(whole=OWN, taken=())
    assert _line(260, None, smbios_cmdline="only").whole == "only"
    # A null pointer, printed.
    assert _line(254, None, smbios_cmdline="only").whole == "(null) only"


ADDED = (
    addon("b.addon.efi", {".cmdline": b" two "}),
    addon("a.addon.efi", {".cmdline": b"one\0rest"}),
    addon("z.addon.efi", {".cmdline": b"zero\n"}, is_global=True),
)


@pytest.mark.parametrize(
    ("release", "measured"),
    [
        (252, ()),
        (253, ()),
        (254, ("zero", "one  two")),
        (255, ("zero  one  two",)),
        (256, ("zero  one  two",)),
        (257, ("zero one two",)),
        (262, ("zero one two",)),
    ],
)
def test_add_ons_are_joined_as_the_release_joins_them(release: int, measured: tuple[str, ...]) -> None:
    line = _line(release, addons=ADDED)
    assert line.taken == tuple(Taken(text=text, source=ADDONS) for text in measured)
    assert line.whole == " ".join((OWN, *measured))


def test_add_ons_come_before_smbios_and_after_load_options_in_register_12() -> None:
    started = boot(
        _uki(262), secure=False, addons=ADDED, smbios_cmdline="extra", load_options="console=x", profile=0
    )
    expected = ("console=x", "zero one two", "extra")
    assert sha256(kernel_config.events(started)) == [
        hashlib.sha256(utf16(text)).digest() for text in expected
    ]
    whole = hashlib.sha256(utf16("console=x zero one two extra")).digest()
    assert sha256(initrd.events(started))[0] == whole


def _loader(version: int) -> Loader:
    return Loader(image=pe.decode(synthetic.uki({".text": b"boot"})), version=version, configuration=None)


@pytest.mark.parametrize("secure", [True, False])
def test_systemd_boot_until_254_passes_the_line_of_the_uki_and_measures_it(secure: bool) -> None:
    once = hashlib.sha256(utf16(OWN)).digest()
    old = kernel_config.events(boot(_uki(254), secure=secure, loader=_loader(254)))
    # The stub measures it a second time where it takes it.
    assert sha256(old) == [once] * (1 if secure else 2)
    assert kernel_config.events(boot(_uki(255), secure=secure, loader=_loader(255))).events == ()


def test_systemd_boot_measures_the_profile_and_the_options_that_it_passes() -> None:
    plain = boot(_uki(262), load_options="x", loader=_loader(262))
    assert sha256(kernel_config.events(plain))[0] == hashlib.sha256(utf16("x")).digest()
    many = uki.decode(
        synthetic.uki((*synthetic.sections().items(), (".profile", b"ID=0"), (".profile", b"ID=1")))
    )
    for options, text in ((None, "@1"), ("x", "@1 x")):
        chosen = boot(many, load_options=options, loader=_loader(262), profile=1)
        assert sha256(kernel_config.events(chosen)) == [
            hashlib.sha256(utf16(text)).digest(),
            hashlib.sha256(utf16("1")).digest(),
        ]


def test_kernel_that_gets_no_line_of_the_stub_may_see_the_one_of_the_firmware() -> None:
    assert len(initrd.events(boot(_uki(257, None))).events) == 1
    open_ended = boot(_uki(258, None), load_options="console=x", confidential=True)
    assert initrd.events(open_ended).basis is Basis.UNPREDICTABLE
    assert "load options of the boot option" in initrd.events(open_ended).reason


def test_text_beyond_ucs_2_is_dropped_and_broken_text_refused() -> None:
    assert _uki(262, "console=\U0001f600é".encode()).cmdline == "console=é"
    with pytest.raises(DecodeError, match=r"UTF-8 in \.cmdline"):
        _uki(262, b"console=\xff")


def test_banks_are_those_asked_for() -> None:
    events = kernel_config.events(boot(_uki(262), smbios_cmdline="x"), (Bank.SHA1, Bank.SHA512)).events
    assert events[0].digests == {
        Bank.SHA1: hashlib.sha1(utf16("x")).digest(),
        Bank.SHA512: hashlib.sha512(utf16("x")).digest(),
    }
