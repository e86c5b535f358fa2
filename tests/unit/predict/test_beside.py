# SPDX-License-Identifier: Apache-2.0
"""Tests of what lies beside the UKI: add-ons, credentials, extensions, and the archives made of them."""

import hashlib

import pytest

from mantlet.predict import extensions, initrd, kernel_config
from mantlet.predict.addons import applied
from mantlet.predict.archive import Target, archive
from mantlet.predict.boot import Basis, ExtraKind
from mantlet_measure.errors import DecodeError
from tests.unit.predict.boots import RELEASES, addon, boot, described, extra, image, sha256
from tests.unit.predict.synthetic import OS_RELEASE

SECRET = Target(directory=".extra/credentials", directory_mode=0o040500, file_mode=0o100400)


def test_archive_is_the_one_that_the_stub_writes() -> None:
    # From src/boot/cpio.c: parents 0555, inode from 1, lower-case digits, a trailer with 0000000B.
    zeros = "00000000"
    parent = f"070701 00000001 0000416d {zeros} {zeros} 00000001 {zeros * 6} 00000007 {zeros}"
    folder = f"070701 00000002 00004140 {zeros} {zeros} 00000001 {zeros * 6} 00000013 {zeros}"
    file = f"070701 00000003 00008100 {zeros} {zeros} 00000001 {zeros} 00000005 {zeros * 4} 0000001a {zeros}"
    trailer = f"070701 {zeros * 4} 00000001 {zeros * 6} 0000000B {zeros}"

    def head(text: str) -> bytes:
        return text.replace(" ", "").encode()

    expected = (
        head(parent) + b".extra\0",
        head(folder) + b".extra/credentials\0",
        head(file) + b".extra/credentials/a.cred\0",
        head(trailer) + b"TRAILER!!!\0\0\0\0",
    )
    padded = [part + bytes(-len(part) % 4) for part in expected]
    assert b"".join(archive(SECRET, [("a.cred", b"hello")])) == (
        padded[0] + padded[1] + padded[2] + b"hello\0\0\0" + padded[3]
    )


ALL = tuple(
    extra(kind, f"{kind.name.lower()}{suffix}")
    for kind, suffix in (
        (ExtraKind.GLOBAL_CONFEXT, ".confext.raw"),
        (ExtraKind.CONFEXT, ".confext.raw"),
        (ExtraKind.GLOBAL_SYSEXT, ".sysext.raw"),
        (ExtraKind.SYSEXT, ".raw"),
        (ExtraKind.GLOBAL_CREDENTIAL, ".cred"),
        (ExtraKind.CREDENTIAL, ".CRED"),
    )
)
CREDENTIALS = ["credential", "global credential"]


@pytest.mark.parametrize("release", RELEASES)
def test_archives_are_those_of_the_release_in_its_registers(release: int) -> None:
    started = boot(release, extras=ALL)
    confexts = ["configuration extension"] if release >= 256 else []
    sysexts = ["system extension"]
    if release >= 258:
        confexts.append("global configuration extension")
        sysexts.append("global system extension")

    def named(kinds: list[str]) -> list[str]:
        return [f"initrd archive of every {kind}" for kind in kinds]

    assert described(kernel_config.events(started)) == named([*CREDENTIALS, *confexts])
    assert described(extensions.events(started)) == named(sysexts)


def test_measured_archives_are_the_ones_in_the_initrd_and_in_its_order() -> None:
    started = boot(262, extras=ALL)
    packed = [b"".join(item.parts) for item in extensions.packed(started)]
    assert len(packed) == 6
    whole = b"".join(initrd.combined(started))
    head = b"an initrd of nineteen\0\0\0"
    assert whole.startswith(head + b"".join(packed))
    assert sha256(kernel_config.events(started)) == [
        hashlib.sha256(packed[index]).digest() for index in (0, 1, 4, 5)
    ]
    assert b".extra/credentials/credential.CRED\0" in packed[0]
    assert OS_RELEASE.encode() in whole[len(head) + sum(map(len, packed)) :]


def test_files_of_one_kind_are_sorted_into_one_archive() -> None:
    started = boot(
        extras=(extra(ExtraKind.CREDENTIAL, "b.cred", b"2"), extra(ExtraKind.CREDENTIAL, "a.cred", b"1"))
    )
    assert b"".join(extensions.packed(started)[0].parts) == b"".join(
        archive(SECRET, [("a.cred", b"1"), ("b.cred", b"2")])
    )


def test_configuration_extension_is_a_system_extension_until_255() -> None:
    started = boot(255, extras=(extra(ExtraKind.CONFEXT, "x.confext.raw"),))
    assert described(extensions.events(started)) == ["initrd archive of every system extension"]


@pytest.mark.parametrize(
    "name", ["a", "a.raw", ".a.cred", "ä.cred", f"{'a' * 251}.cred", "folder/a.cred", "a\\b.cred"]
)
def test_credential_that_the_stub_would_pass_over_is_refused(name: str) -> None:
    with pytest.raises(DecodeError, match=r"ends in \.cred") as refused:
        kernel_config.events(boot(extras=(extra(ExtraKind.CREDENTIAL, name),)))
    assert "NAME.cred" in refused.value.hint


def test_configuration_extension_handed_in_as_a_system_extension_is_refused() -> None:
    with pytest.raises(DecodeError, match=r"does not end in \.confext\.raw"):
        extensions.events(boot(extras=(extra(ExtraKind.SYSEXT, "x.confext.raw"),)))


def _applied(release: int | str, contents: dict[str, bytes]) -> list[str]:
    started = boot(image(release), addons=(addon("x.addon.efi", contents),))
    return [name for item in applied(started) for name in item.sections]


@pytest.mark.parametrize(
    ("release", "sections"),
    [
        (252, []),
        (253, []),
        (254, [".cmdline"]),
        (255, [".cmdline", ".dtb"]),
        (256, [".cmdline", ".dtb"]),
        (257, [".cmdline", ".initrd", ".ucode", ".dtb", ".dtbauto"]),
        (262, [".cmdline", ".initrd", ".ucode", ".dtb", ".dtbauto"]),
    ],
)
def test_sections_that_the_release_takes_from_an_add_on(release: int, sections: list[str]) -> None:
    contents = {name: b"x" for name in (".cmdline", ".dtb", ".initrd", ".ucode")}
    if release >= 257:
        contents[".dtbauto"] = b"x"
    assert _applied(release, contents) == sections


@pytest.mark.parametrize(
    ("release", "uname", "taken"),
    [
        (254, b"7.2.12", True),
        (254, b"6.1", False),
        ("255.4", b"6.1", True),
        ("255.5", b"6.1", False),
        (262, b"6.1", False),
        (262, b"7.2", True),
        (262, b"7.2\0", False),
        (262, b"7.2.12\0rest", True),
    ],
)
def test_add_on_for_another_kernel_is_loaded_but_not_taken(
    release: int | str, uname: bytes, taken: bool
) -> None:
    assert bool(_applied(release, {".cmdline": b"x", ".uname": uname})) is taken


def test_uki_in_the_place_of_an_add_on_gives_nothing() -> None:
    assert _applied(262, {".cmdline": b"x", ".linux": b"y"}) == []


def test_add_on_of_another_name_is_refused() -> None:
    with pytest.raises(DecodeError, match=r"ends in \.addon\.efi"):
        applied(boot(addons=(addon("x.efi", {".cmdline": b"x"}),)))


def test_initrds_and_microcode_of_add_ons_stand_where_the_stub_puts_them() -> None:
    beside = (
        addon("a.addon.efi", {".ucode": b"ucode a!", ".initrd": b"from a"}),
        addon("b.addon.efi", {".ucode": b"ucode b!", ".initrd": b"from b", ".dtb": b"tree"}),
    )
    started = boot(image(262, ucode=b"own ucode", osrel=None), addons=beside)
    assert b"".join(initrd.combined(started)) == (
        b"ucode b!"
        + b"ucode a!"
        + b"own ucode\0\0\0"
        + b"an initrd of nineteen\0\0\0"
        + b"from a\0\0from b\0\0"
    )
    contents = (b"tree", b"ucode b!", b"ucode a!", b"from a", b"from b")
    assert sha256(kernel_config.events(started)) == [hashlib.sha256(item).digest() for item in contents]
    assert {event.type for event in kernel_config.events(started).events} == {"EV_EVENT_TAG"}


@pytest.mark.parametrize(("release", "first"), [(256, "archive"), (257, "section .dtb")])
def test_device_trees_are_measured_behind_the_archives_until_256(release: int, first: str) -> None:
    started = boot(
        release,
        addons=(addon("x.addon.efi", {".dtb": b"tree"}),),
        extras=(extra(ExtraKind.CREDENTIAL, "a.cred"),),
    )
    assert first in described(kernel_config.events(started))[0]


def test_add_on_for_some_hardware_leaves_register_12_open() -> None:
    prediction = kernel_config.events(boot(addons=(addon("x.addon.efi", {".dtbauto": b"tree"}),)))
    assert prediction.basis is Basis.UNPREDICTABLE
    assert "x.addon.efi" in prediction.reason
