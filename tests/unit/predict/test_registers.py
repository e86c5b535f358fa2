# SPDX-License-Identifier: Apache-2.0
"""Tests of the predicted registers against other programs that compute the same."""

import hashlib
import json
from typing import Any

import pytest

from mantlet.predict import initrd, predict, predict_events, uki
from mantlet.predict.initrd import archive, combined
from mantlet.predict.user_space import PHASES, SEPARATED
from mantlet.predict.variables import SecureBootKeys, decode_store, secure_boot_keys
from mantlet.release import manifest
from mantlet_measure.pcr import BANKS, ENFORCED, Bank, Event, Register, replay
from tests.unit.predict import synthetic
from tests.unit.predict.synthetic import CMDLINE, OS_RELEASE, sections


def _events(artefacts: Any) -> dict[int, tuple[Event, ...]]:
    keys = secure_boot_keys(decode_store(artefacts.read("OVMF_VARS.fd")))
    image = uki.decode(artefacts.read("uki.efi"))
    return dict(predict_events(image, keys, os_separator=True, phases=PHASES))


@pytest.mark.parametrize("bank", BANKS)
def test_register_11_is_the_one_of_systemd_measure(artefacts: Any, bank: Bank) -> None:
    image = uki.decode(artefacts.read("uki.efi")).image
    options = []
    for section in image.sections:
        if section.name in (".linux", ".osrel", ".cmdline", ".initrd", ".uname", ".sbat"):
            (artefacts.folder / section.name[1:]).write_bytes(image.content(section))
            options.append(f"--{section.name[1:]}={artefacts.path(section.name[1:])}")
    assert len(options) == 6
    out = artefacts.run(
        "/usr/lib/systemd/systemd-measure",
        "calculate",
        "--json=short",
        f"--bank={bank.value}",
        "--phase=enter-initrd:leave-initrd",
        *options,
    )
    (measured,) = json.loads(out)[bank.value]
    value = replay(bank, (event.digests[bank] for event in _events(artefacts)[11]))
    assert (measured["pcr"], measured["hash"]) == (11, value.hex())


def test_configuration_in_register_7_is_the_one_of_virt_firmware(artefacts: Any) -> None:
    listed = artefacts.run(
        "virt-fw-measure",
        "--vars",
        artefacts.path("OVMF_VARS.fd"),
        "--bank",
        "sha256",
        "--bank",
        "sha384",
        "--no-shim",
    )
    records = [record for record in json.loads(listed)["records"] if record["pcr"] == 7]
    assert len(records) == 6
    # It stops at the separator: the authority comes from the image, which it does not see.
    events = _events(artefacts)[7]
    for record, event in zip(records, events, strict=False):
        digests = {entry["hashAlg"]: entry["digest"] for entry in record["digests"]}
        assert digests == {bank.value: event.digests[bank].hex() for bank in BANKS}
        assert record["content"]["event_type"] == event.claimed_type


def test_authority_in_register_7_is_the_enrolled_certificate(artefacts: Any) -> None:
    owner = bytes.fromhex("6d56324e9e8e524f81d35bb9715f9727")
    der = artefacts.run("openssl", "x509", "-in", artefacts.path("db.pem"), "-outform", "der")
    data = owner + der
    head = (
        bytes.fromhex("cbb219d73a3d9645a3bcdad00e67656f")
        + (2).to_bytes(8, "little")
        + len(data).to_bytes(8, "little")
    )
    authority = _events(artefacts)[7][6]
    assert authority.claimed_type == "EV_EFI_VARIABLE_AUTHORITY"
    assert authority.digests[Bank.SHA384] == hashlib.sha384(head + b"d\0b\0" + data).digest()


def test_register_4_is_action_separator_and_image(artefacts: Any) -> None:
    events = _events(artefacts)[4]
    assert [event.claimed_type for event in events] == [
        "EV_EFI_ACTION",
        "EV_SEPARATOR",
        "EV_EFI_BOOT_SERVICES_APPLICATION",
        "os-separator",
    ]
    listed = artefacts.run(
        "pesign", "--hash", "--digest-type=sha256", f"--in={artefacts.path('unsigned.efi')}"
    )
    assert events[2].digests[Bank.SHA256].hex() in listed.decode()
    assert (
        events[0].digests[Bank.SHA256] == hashlib.sha256(b"Calling EFI Application from Boot Option").digest()
    )
    assert events[1].digests[Bank.SHA256] == hashlib.sha256(bytes(4)).digest()


def test_register_9_starts_with_the_command_line_in_utf_16() -> None:
    event = initrd.events(uki.decode(synthetic.uki()))[0]
    assert event.digests[Bank.SHA256] == hashlib.sha256((CMDLINE + "\0").encode("utf-16-le")).digest()


def test_initrd_is_padded_and_followed_by_os_release() -> None:
    blob = b"".join(combined(uki.decode(synthetic.uki())))
    assert blob == b"an initrd of nineteen" + bytes(3) + archive("os-release", OS_RELEASE.encode())


def test_initrd_holds_microcode_first_and_pcr_signature_before_os_release() -> None:
    image = uki.decode(synthetic.uki(sections(ucode=b"ucode", pcrsig=b"{}", pcrpkey=b"key")))
    assert b"".join(combined(image)) == (
        b"ucode\0\0\0"
        + b"an initrd of nineteen\0\0\0"
        + archive("tpm2-pcr-signature.json", b"{}")
        + archive("tpm2-pcr-public-key.pem", b"key")
        + archive("os-release", OS_RELEASE.encode())
    )


def test_archive_unpacks_with_cpio(artefacts: Any) -> None:
    path = artefacts.folder / "archive.cpio"
    path.write_bytes(archive("os-release", b"ID=x\n"))
    unpacked = artefacts.run(
        "cpio", "--extract", "--to-stdout", "--quiet", "--file", str(path), ".extra/os-release"
    )
    assert unpacked == b"ID=x\n"
    listed = artefacts.run(
        "cpio", "--list", "--verbose", "--numeric-uid-gid", "--quiet", "--file", str(path)
    ).decode()
    modes = [(line.split()[0], line.split()[-1]) for line in listed.splitlines()]
    assert modes == [("dr-xr-xr-x", ".extra"), ("-r--r--r--", ".extra/os-release")]


def test_phases_follow_the_sections_in_register_11(artefacts: Any) -> None:
    events = _events(artefacts)[11]
    assert [event.description for event in events[-2:]] == ["enter-initrd", "leave-initrd"]
    assert events[-1].digests[Bank.SHA256] == hashlib.sha256(b"leave-initrd").digest()


def test_registers_12_to_14_hold_the_separator_and_15_nothing(artefacts: Any) -> None:
    events = _events(artefacts)
    assert [event.claimed_type for register in (12, 13, 14) for event in events[register]] == [
        "os-separator"
    ] * 3
    assert events[15] == ()


def test_without_the_separator_unit_no_register_holds_it(artefacts: Any) -> None:
    keys = secure_boot_keys(decode_store(artefacts.read("OVMF_VARS.fd")))
    plain = predict(uki=artefacts.read("uki.efi"), secure_boot=keys, os_separator=False)
    types = {
        event.type
        for value in plain.platforms["qemu-ovmf"].banks[Bank.SHA256].values()
        for event in value.events
    }
    assert "os-separator" not in types


def test_separated_registers_are_those_of_the_unit(artefacts: Any) -> None:
    unit = artefacts.run("cat", "/usr/lib/systemd/system/systemd-pcrosseparator.service").decode()
    words = unit.replace("\\\n", " ").split()
    assert tuple(int(word.removeprefix("--pcr=")) for word in words if word.startswith("--pcr=")) == SEPARATED


def test_manifest_holds_every_enforced_register_in_both_banks(artefacts: Any) -> None:
    keys = secure_boot_keys(decode_store(artefacts.read("OVMF_VARS.fd")))
    made = predict(uki=artefacts.read("uki.efi"), secure_boot=keys)
    assert manifest.decode(manifest.encode(made)) == made
    for bank in BANKS:
        assert tuple(made.platforms["qemu-ovmf"].banks[bank]) == ENFORCED
    assert made.image.uki_sha256 == hashlib.sha256(artefacts.read("uki.efi")).digest()
    assert made.platforms["qemu-ovmf"].banks[Bank.SHA384][Register.SYSTEM_IDENTITY].value == bytes(48)


def test_unknown_platform_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="no prediction"):
        predict(uki=b"", secure_boot=SecureBootKeys(pk=b"", kek=b"", db=b"", dbx=b""), platform="mainframe")
