# SPDX-License-Identifier: Apache-2.0
"""The UKI: these sections, this command line, our signature; what is predicted of it, by other programs."""

import hashlib
import json
import re
from typing import Any

import lief
import pytest

from mantlet.predict.pe import Image
from mantlet.release import manifest
from mantlet_measure.pcr import BANKS, ENFORCED, Bank, replay
from tests.image.conftest import Audit
from tests.image.unpacked import Tree

SECTIONS = [
    ".text",
    ".rodata",
    ".data",
    ".sbat",
    ".sdmagic",
    ".reloc",
    ".osrel",
    ".cmdline",
    ".uname",
    ".linux",
    ".initrd",
]
MEASURED = ("linux", "osrel", "cmdline", "initrd", "uname", "sbat")


def section(image: Image, name: str) -> bytes:
    found = image.section(name)
    assert found is not None
    return image.content(found)


@pytest.fixture(scope="module")
def published(audit: Audit) -> manifest.Manifest:
    return manifest.decode(audit.read("measurements.json"))


def value(published: manifest.Manifest, bank: Bank, register: int) -> manifest.Expected:
    return published.platforms["qemu-ovmf"].banks[bank][register]


def test_the_uki_has_these_sections_and_no_others(uki_image: Image) -> None:
    # No .profile, which the stub would choose from; no .pcrsig, whose key nothing here trusts.
    assert [item.name for item in uki_image.sections] == SECTIONS


def test_the_command_line_is_the_declared_one(
    audit: Audit, uki_image: Image, parameters: dict[str, Any]
) -> None:
    text = section(uki_image, ".cmdline").rstrip(b"\0").decode("ascii")
    declared = " ".join(parameters["kernel_command_line"]).split()
    assert text.split() == [f"roothash={audit.read('roothash').decode()}", *declared]
    assert len(text) < 2048


def test_the_command_line_opens_nothing(uki_image: Image) -> None:
    words = section(uki_image, ".cmdline").rstrip(b"\0").decode("ascii").split()
    assert [word for word in words if word.startswith("console=")] == ["console=null"]
    assert "lockdown=confidentiality" in words
    assert "module.sig_enforce=1" in words
    assert "systemd.import_credentials=no" in words
    opening = re.compile(
        r"(rd)?init=|rd\.break|single|emergency|rescue|debug(?!fs=off)|systemd\.unit=|earlycon"
    )
    assert [word for word in words if opening.match(word)] == []


def test_the_kernel_is_the_one_of_the_modules(uki_image: Image, release: str) -> None:
    assert section(uki_image, ".uname").rstrip(b"\0").decode() == release


def test_the_uki_and_the_root_are_of_one_release(uki_image: Image, root: Tree, initrd: Tree) -> None:
    text = section(uki_image, ".osrel").rstrip(b"\0").decode()
    assert text.strip() == root.text("/usr/lib/os-release").strip()
    assert "IMAGE_ID=" in initrd.text("/usr/lib/os-release")


def test_the_uki_is_signed_by_db_and_by_no_other_key(audit: Audit) -> None:
    audit.run("sbverify", "--cert", audit.certificate("db"), audit.path("uki.efi"))
    by_another = ("sbverify", "--cert", audit.certificate("PK"), audit.path("uki.efi"))
    assert audit.run(*by_another, check=False).returncode != 0
    listed = audit.run("sbverify", "--list", audit.path("uki.efi")).stdout.decode()
    assert [line for line in listed.splitlines() if line.startswith("signature ")] == ["signature 1"]


def test_the_manifest_names_this_uki_and_this_root(
    audit: Audit, published: manifest.Manifest, uki_image: Image
) -> None:
    assert published.image.uki_sha256.hex() == hashlib.sha256(audit.read("uki.efi")).hexdigest()
    assert published.image.roothash.hex() == audit.read("roothash").decode()
    assert published.image.cmdline == section(uki_image, ".cmdline").rstrip(b"\0").decode("ascii")
    assert f"{published.image.id}_{published.image.version}_x86-64" == audit.built.directory.name


def test_the_manifest_lists_the_enforced_registers_in_both_banks(published: manifest.Manifest) -> None:
    (platform,) = published.platforms.values()
    assert platform.enforced == ENFORCED
    for bank in BANKS:
        # 5 is the partition table of the disk as it was built; nothing measures into 8.
        assert set(platform.banks[bank]) == {*ENFORCED, 5, 8}
        for expected in platform.banks[bank].values():
            assert replay(bank, (event.digest for event in expected.events)) == expected.value
    assert set(platform.unpredictable) == {0, 1, 2, 3, 6, 10}


@pytest.mark.parametrize("bank", BANKS)
def test_register_11_is_the_one_of_systemd_measure(
    audit: Audit, uki_image: Image, published: manifest.Manifest, bank: Bank
) -> None:
    options = []
    for name in MEASURED:
        path = audit.folder / f"{name}.section"
        path.write_bytes(section(uki_image, f".{name}"))
        options.append(f"--{name}={path}")
    said = audit.run(
        "/usr/lib/systemd/systemd-measure",
        *("calculate", "--json=short", f"--bank={bank.value}", "--phase=enter-initrd:leave-initrd"),
        *options,
    )
    (measured,) = json.loads(said.stdout)[bank.value]
    assert (measured["pcr"], measured["hash"]) == (11, value(published, bank, 11).value.hex())


@pytest.mark.parametrize(
    ("bank", "algorithm"),
    [(Bank.SHA256, lief.PE.ALGORITHMS.SHA_256), (Bank.SHA384, lief.PE.ALGORITHMS.SHA_384)],
)
def test_register_4_holds_the_authenticode_hash_of_lief(
    audit: Audit, published: manifest.Manifest, bank: Bank, algorithm: lief.PE.ALGORITHMS
) -> None:
    parsed = lief.PE.parse(str(audit.path("uki.efi")))
    assert parsed is not None
    digests = [event.digest for event in value(published, bank, 4).events]
    assert digests.count(bytes(parsed.authentihash(algorithm))) == 1


def test_register_4_holds_the_authenticode_hash_of_pesign(audit: Audit, published: manifest.Manifest) -> None:
    said = audit.run("pesign", "--hash", f"--in={audit.path('uki.efi')}").stdout.decode()
    digests = [event.digest.hex() for event in value(published, Bank.SHA256, 4).events]
    assert said.split()[0] in digests
