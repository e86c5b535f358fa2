# SPDX-License-Identifier: Apache-2.0
"""Tests of what a disk gives to a boot: what is started, what lies beside it, and what is refused."""

from typing import Any
from uuid import UUID

import pytest

from mantlet.predict import disk, gpt
from mantlet.predict.boot import BootSecret, ExtraKind
from mantlet.predict.uki import UnpredictableError
from mantlet_measure.errors import DecodeError
from tests.unit.predict import media, synthetic
from tests.unit.predict.boots import KERNEL

UKI = synthetic.uki()
LOADER = synthetic.uki({".text": b"code", ".sdmagic": b"#### LoaderInfo: systemd-boot 262.1 ####\0"})
ADDON = synthetic.uki({".cmdline": b"debug"})
BOOT = "EFI/BOOT/BOOTX64.EFI"


def entry(version: str, **release: str) -> bytes:
    """A UKI whose os-release says so."""
    fields = {"ID": "debian", "IMAGE_ID": "mantlet", "IMAGE_VERSION": version, **release}
    text = "".join(f"{name}={value}\n" for name, value in fields.items() if value)
    return synthetic.uki(synthetic.sections(osrel=text.encode()))


def _decode(artefacts: Any, files: dict[str, bytes], **options: Any) -> disk.Medium:
    made = media.fat(artefacts, files, bits=16, name="disk")
    return disk.decode(memoryview(media.with_esp(made)), **options)


def test_disk_with_a_uki_starts_that_and_measures_its_table(artefacts: Any) -> None:
    made = media.with_esp(media.fat(artefacts, {BOOT: UKI}, bits=16, name="disk"))
    found = disk.decode(memoryview(made))
    assert (found.uki, found.path, found.loader) == (UKI, disk.DEFAULT_PATH, None)
    assert found.gpt_event == gpt.decode(memoryview(made)).event
    assert (found.addons, found.extras, found.enrols) == ((), (), False)


def test_partition_alone_starts_the_same_but_has_no_table(artefacts: Any) -> None:
    made = media.fat(artefacts, {BOOT: UKI}, bits=16, name="disk")
    found = disk.decode(memoryview(made))
    assert (found.uki, found.gpt_event) == (UKI, None)


def test_esp_that_starts_nothing_gives_way_to_one_that_does(artefacts: Any) -> None:
    empty = media.fat(artefacts, {"x": b""}, bits=12, name="empty")
    full = media.fat(artefacts, {BOOT: UKI}, bits=16, name="disk")
    found = disk.decode(memoryview(media.disk([(gpt.ESP, empty), (gpt.ESP, full)])))
    assert found.uki == UKI


def test_companions_are_taken_as_the_stub_takes_them(artefacts: Any) -> None:
    own = f"{BOOT}.extra.d"
    files = {
        BOOT: UKI,
        f"{own}/b.cred": b"b",
        f"{own}/a.cred": b"a",
        f"{own}/x.raw": b"x",
        f"{own}/y.sysext.raw": b"y",
        f"{own}/z.confext.raw": b"z",
        f"{own}/own.addon.efi": ADDON,
        f"{own}/ignored.txt": b"",
        f"{own}/.hidden.cred": b"",
        "loader/credentials/g.cred": b"g",
        "loader/extensions/s.sysext.raw": b"s",
        "loader/extensions/c.confext.raw": b"c",
        "loader/addons/all.addon.efi": ADDON,
    }
    found = _decode(artefacts, files)
    assert [(extra.kind, extra.name, bytes(extra.content)) for extra in found.extras] == [
        (ExtraKind.CREDENTIAL, "a.cred", b"a"),
        (ExtraKind.CREDENTIAL, "b.cred", b"b"),
        (ExtraKind.GLOBAL_CREDENTIAL, "g.cred", b"g"),
        (ExtraKind.SYSEXT, "x.raw", b"x"),
        (ExtraKind.SYSEXT, "y.sysext.raw", b"y"),
        (ExtraKind.GLOBAL_SYSEXT, "s.sysext.raw", b"s"),
        (ExtraKind.CONFEXT, "z.confext.raw", b"z"),
        (ExtraKind.GLOBAL_CONFEXT, "c.confext.raw", b"c"),
    ]
    assert [(addon.name, addon.is_global) for addon in found.addons] == [
        ("all.addon.efi", True),
        ("own.addon.efi", False),
    ]


@pytest.mark.parametrize(
    ("files", "attribute", "expected"),
    [
        ({}, None, BootSecret.RANDOM),
        ({"loader/boot-secret-mixin": b"\0"}, None, BootSecret.ABSENT),
        ({"loader/boot-secret-mixin": bytes(31)}, None, BootSecret.ABSENT),
        ({"loader/boot-secret-mixin": bytes(32)}, None, BootSecret.RANDOM),
        ({"loader/boot-secret-mixin": b""}, None, BootSecret.RANDOM),
        ({"loader/boot-secret-mixin": b""}, "loader/boot-secret-mixin", BootSecret.ABSENT),
        ({"loader/random-seed": bytes(32)}, None, BootSecret.RANDOM),
        ({"loader/random-seed": bytes(32)}, "loader/random-seed", BootSecret.ABSENT),
    ],
)
def test_esp_decides_whether_there_is_a_boot_secret(
    artefacts: Any, files: dict[str, bytes], attribute: str | None, expected: BootSecret
) -> None:
    made = media.fat(artefacts, {BOOT: UKI, **files}, bits=16, name="secret")
    if attribute is not None:
        made = media.attribute(artefacts, "secret", attribute, "+r")
    assert disk.decode(memoryview(made)).boot_secret is expected


def test_loader_is_read_with_its_configuration_and_its_newest_entry(artefacts: Any) -> None:
    files = {
        BOOT: LOADER,
        "loader/loader.conf": b"timeout 0\n",
        "EFI/Linux/mantlet_9.efi": entry("9"),
        "EFI/Linux/mantlet_10.efi": entry("10"),
        "EFI/Linux/mantlet_10.efi.extra.d/a.cred": b"a",
    }
    found = _decode(artefacts, files)
    assert found.loader is not None
    assert (found.loader.version, found.loader.configuration) == (262, b"timeout 0\n")
    assert (found.path, found.uki) == ("\\EFI\\Linux\\mantlet_10.efi", entry("10"))
    assert [extra.name for extra in found.extras] == ["a.cred"]
    named = _decode(artefacts, files, wanted="mantlet_9.efi")
    assert (named.uki, named.extras) == (entry("9"), ())


def test_companions_of_an_entry_with_boot_counters_lie_under_its_name_without(artefacts: Any) -> None:
    files = {
        BOOT: LOADER,
        "EFI/Linux/mantlet+3-0.efi": entry("1"),
        "EFI/Linux/mantlet.efi.extra.d/a.cred": b"a",
    }
    found = _decode(artefacts, files)
    assert found.path == "\\EFI\\Linux\\mantlet+3-0.efi"
    assert [extra.name for extra in found.extras] == ["a.cred"]


def test_folder_of_more_companions_than_the_limit_is_refused(
    artefacts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "_FILES_LIMIT", 1)
    files = {BOOT: UKI, "loader/credentials/a.cred": b"a", "loader/credentials/b.cred": b"b"}
    with pytest.raises(DecodeError, match="at most 1 files"):
        _decode(artefacts, files)


def test_keys_that_a_loader_would_enrol_are_told_of(artefacts: Any) -> None:
    files = {BOOT: LOADER, "EFI/Linux/a.efi": entry("1"), "loader/keys/auto/db.auth": b"x"}
    assert _decode(artefacts, files).enrols


@pytest.mark.parametrize(
    ("files", "options", "expected"),
    [
        ({"EFI/other": b""}, {}, "a program"),
        ({BOOT: b"no PE at all"}, {}, "BOOTX64"),
        ({BOOT: UKI}, {"wanted": "other.efi"}, "leave --uki out|which offers entries"),
        ({BOOT: LOADER}, {}, "an entry in"),
        ({BOOT: LOADER, "EFI/Linux/a.efi": UKI}, {"wanted": "b.efi"}, "found entries a.efi"),
    ],
)
def test_disk_that_starts_nothing_is_refused(
    artefacts: Any, files: dict[str, bytes], options: dict[str, str], expected: str
) -> None:
    with pytest.raises(DecodeError, match=expected):
        _decode(artefacts, files, **options)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({BOOT: KERNEL}, "another program"),
        ({BOOT: LOADER.replace(b"systemd-boot 262.1", b"systemd-boot 263.1")}, "which nobody has checked"),
        ({BOOT: LOADER, "EFI/systemd/drivers/ext4x64.efi": b"x"}, "expected no drivers"),
    ],
)
def test_disk_that_measures_more_than_is_predicted_is_refused(
    artefacts: Any, files: dict[str, bytes], expected: str
) -> None:
    with pytest.raises(UnpredictableError, match=expected):
        _decode(artefacts, {"EFI/Linux/a.efi": UKI, **files})


def test_disk_whose_entries_may_lie_on_another_partition_is_refused(artefacts: Any) -> None:
    esp = media.fat(artefacts, {BOOT: LOADER, "EFI/Linux/a.efi": UKI}, bits=16, name="disk")
    whole = media.disk([(gpt.ESP, esp), (UUID(disk.XBOOTLDR), b"x")])
    with pytest.raises(UnpredictableError, match="XBOOTLDR"):
        disk.decode(memoryview(whole))


def test_disk_without_esp_and_file_that_is_no_disk_are_refused() -> None:
    with pytest.raises(DecodeError, match="an EFI system partition"):
        disk.decode(memoryview(media.disk([(media.ROOT, b"x")])))
    with pytest.raises(DecodeError, match="EFI PART"):
        disk.decode(memoryview(bytes(4096)))
