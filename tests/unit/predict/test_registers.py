# SPDX-License-Identifier: Apache-2.0
"""Tests of the predicted registers against other programs that compute the same."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pytest

from mantlet.predict import kernel_boot, predict_boot, uki
from mantlet.predict.archive import META, archive
from mantlet.predict.boot import Boot, ExtraKind, RegisterPrediction, SecureBootState, UserSpace
from mantlet.predict.extensions import packed
from mantlet.predict.user_space import PHASES, SEPARATED
from mantlet.predict.variables import decode_store, secure_boot_keys
from mantlet_measure.pcr import ALL_BANKS, BANKS, Bank, replay
from tests.unit.predict.boots import boot, extra


def _boot(artefacts: Any) -> Boot:
    keys = secure_boot_keys(decode_store(artefacts.read("OVMF_VARS.fd")))
    return dataclasses.replace(
        boot(uki.decode(artefacts.read("uki.efi"))),
        secure_boot=SecureBootState(enabled=True, keys=keys),
        user_space=UserSpace(os_separator=True, phases=PHASES),
    )


def _predicted(artefacts: Any) -> Mapping[int, RegisterPrediction]:
    return predict_boot(_boot(artefacts))


@pytest.mark.parametrize("bank", ALL_BANKS)
def test_every_phase_of_register_11_is_the_one_of_systemd_measure(artefacts: Any, bank: Bank) -> None:
    image = uki.decode(artefacts.read("uki.efi")).image
    options = []
    for section in image.sections:
        if section.name in (".linux", ".osrel", ".cmdline", ".initrd", ".uname", ".sbat"):
            (artefacts.folder / section.name[1:]).write_bytes(image.content(section))
            options.append(f"--{section.name[1:]}={artefacts.path(section.name[1:])}")
    assert len(options) == 6
    values = kernel_boot.phase_values(_boot(artefacts), banks=(bank,))
    values = {phase: value for phase, value in values.items() if phase.count(":") < 4 and phase}
    out = artefacts.run(
        "/usr/lib/systemd/systemd-measure",
        "calculate",
        "--json=short",
        f"--bank={bank.value}",
        *(f"--phase={phase}" for phase in values),
        *options,
    )
    measured = {item["phase"]: item["hash"] for item in json.loads(out)[bank.value]}
    assert measured == {
        phase: replay(bank, (event.digests[bank] for event in value.events)).hex()
        for phase, value in values.items()
    }


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
    for record, event in zip(records, _predicted(artefacts)[7].events, strict=False):
        digests = {entry["hashAlg"]: entry["digest"] for entry in record["digests"]}
        assert digests == {bank.value: event.digests[bank].hex() for bank in BANKS}
        assert record["content"]["event_type"] == event.type


def test_authority_in_register_7_is_the_enrolled_certificate(artefacts: Any) -> None:
    owner = bytes.fromhex("6d56324e9e8e524f81d35bb9715f9727")
    der = artefacts.run("openssl", "x509", "-in", artefacts.path("db.pem"), "-outform", "der")
    data = owner + der
    head = (
        bytes.fromhex("cbb219d73a3d9645a3bcdad00e67656f")
        + (2).to_bytes(8, "little")
        + len(data).to_bytes(8, "little")
    )
    authority = _predicted(artefacts)[7].events[6]
    assert authority.type == "EV_EFI_VARIABLE_AUTHORITY"
    assert authority.digests[Bank.SHA384] == hashlib.sha384(head + b"d\0b\0" + data).digest()


def test_register_4_is_action_separator_and_image(artefacts: Any) -> None:
    events = _predicted(artefacts)[4].events
    assert [event.type for event in events] == [
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


def _unpacked(artefacts: Any, whole: bytes, member: str) -> tuple[bytes, list[tuple[str, str]]]:
    """What cpio finds: the content of one member, and the modes of all."""
    path = artefacts.folder / "archive.cpio"
    path.write_bytes(whole)
    content = artefacts.run("cpio", "--extract", "--to-stdout", "--quiet", "--file", str(path), member)
    listed = artefacts.run(
        "cpio", "--list", "--verbose", "--numeric-uid-gid", "--quiet", "--file", str(path)
    ).decode()
    return content, [(line.split()[0], line.split()[-1]) for line in listed.splitlines()]


def test_archive_of_the_release_file_unpacks_with_cpio(artefacts: Any) -> None:
    whole = b"".join(archive(META, [("os-release", b"ID=x\n")]))
    assert _unpacked(artefacts, whole, ".extra/os-release") == (
        b"ID=x\n",
        [("dr-xr-xr-x", ".extra"), ("-r--r--r--", ".extra/os-release")],
    )


def test_archive_of_credentials_unpacks_with_cpio_and_keeps_them_from_others(artefacts: Any) -> None:
    started = boot(extras=(extra(ExtraKind.CREDENTIAL, "a.cred", b"one"),))
    whole = b"".join(packed(started)[0].parts)
    assert _unpacked(artefacts, whole, ".extra/credentials/a.cred") == (
        b"one",
        [
            ("dr-xr-xr-x", ".extra"),
            ("dr-x------", ".extra/credentials"),
            ("-r--------", ".extra/credentials/a.cred"),
        ],
    )


def test_phases_follow_the_sections_in_register_11(artefacts: Any) -> None:
    events = _predicted(artefacts)[11].events
    assert [event.description for event in events[-2:]] == ["enter-initrd", "leave-initrd"]
    assert events[-1].digests[Bank.SHA256] == hashlib.sha256(b"leave-initrd").digest()


def test_registers_12_to_14_hold_the_separator_and_15_nothing(artefacts: Any) -> None:
    made = _predicted(artefacts)
    types = [event.type for register in (12, 13, 14) for event in made[register].events]
    assert types == ["os-separator"] * 3
    assert made[15] == RegisterPrediction(events=())


def test_separated_registers_are_those_of_the_unit(artefacts: Any) -> None:
    unit = artefacts.run("cat", "/usr/lib/systemd/system/systemd-pcrosseparator.service").decode()
    words = unit.replace("\\\n", " ").split()
    assert tuple(int(word.removeprefix("--pcr=")) for word in words if word.startswith("--pcr=")) == SEPARATED
