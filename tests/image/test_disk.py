# SPDX-License-Identifier: Apache-2.0
"""The disk: four partitions, each what it says, the root under a hash that db signed; the firmware's keys."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from mantlet.predict import signature_lists
from mantlet.predict.variables import decode_store, secure_boot_keys
from tests.image.conftest import Audit

# UAPI.2, Discoverable Partitions Specification, and UEFI 2.10, 5.3.3.
TYPES = {
    "root-x86-64": "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709",
    "root-x86-64-verity": "2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5",
    "root-x86-64-verity-sig": "41092B05-9FC8-4523-994F-2DEF0408B176",
    "esp": "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
}
READ_ONLY = 60


@pytest.fixture(scope="module")
def table(audit: Audit) -> dict[str, Any]:
    said = audit.run("sfdisk", "--json", audit.path("disk.raw")).stdout
    loaded = json.loads(said)["partitiontable"]
    assert isinstance(loaded, dict)
    return loaded


@pytest.fixture(scope="module")
def partitions(audit: Audit, table: dict[str, Any]) -> dict[str, Path]:
    """The content of each partition, in a file."""
    written = {}
    with audit.path("disk.raw").open("rb") as disk:
        for entry in table["partitions"]:
            disk.seek(entry["start"] * table["sectorsize"])
            path = audit.folder / f"{entry['name']}.part"
            path.write_bytes(disk.read(entry["size"] * table["sectorsize"]))
            written[entry["name"]] = path
    return written


def test_the_disk_has_four_partitions_of_the_right_types(audit: Audit, table: dict[str, Any]) -> None:
    assert table["label"] == "gpt"
    assert {entry["name"]: entry["type"] for entry in table["partitions"]} == TYPES
    assert len(table["partitions"]) == len(TYPES)
    assert b"No errors detected" in audit.run("sfdisk", "--verify", audit.path("disk.raw")).stdout


def test_what_is_verified_is_marked_read_only(table: dict[str, Any]) -> None:
    marked = {entry["name"] for entry in table["partitions"] if f"GUID:{READ_ONLY}" in entry.get("attrs", "")}
    assert marked == TYPES.keys() - {"esp"}


def test_partitions_of_the_root_are_found_by_its_hash(audit: Audit, table: dict[str, Any]) -> None:
    roothash = audit.read("roothash").decode()
    uuids = {entry["name"]: entry["uuid"].replace("-", "").lower() for entry in table["partitions"]}
    assert uuids["root-x86-64"] == roothash[:32]
    assert uuids["root-x86-64-verity"] == roothash[32:]


def test_root_and_tree_on_the_disk_are_the_released_ones(audit: Audit, partitions: dict[str, Path]) -> None:
    assert partitions["root-x86-64"].read_bytes() == audit.read("root.raw")
    assert partitions["root-x86-64-verity"].read_bytes() == audit.read("root.verity")


def test_the_root_has_the_hash(audit: Audit) -> None:
    files = (audit.path("root.raw"), audit.path("root.verity"))
    audit.run("veritysetup", "verify", *files, audit.read("roothash").decode())


def test_a_root_with_one_flipped_bit_has_another_hash(audit: Audit) -> None:
    changed = audit.folder / "changed.raw"
    data = bytearray(audit.read("root.raw"))
    data[len(data) // 2] ^= 1
    changed.write_bytes(data)
    argv = ("veritysetup", "verify", changed, audit.path("root.verity"), audit.read("roothash").decode())
    assert audit.run(*argv, check=False).returncode != 0


def test_the_root_hash_is_signed_by_db(audit: Audit, partitions: dict[str, Path]) -> None:
    signed = json.loads(partitions["root-x86-64-verity-sig"].read_bytes().rstrip(b"\0"))
    assert signed["rootHash"] == audit.read("roothash").decode()
    certificate = x509.load_pem_x509_certificate(audit.certificate("db").read_bytes())
    assert signed["certificateFingerprint"] == certificate.fingerprint(hashes.SHA256()).hex()
    signature, content = audit.folder / "roothash.p7s", audit.folder / "roothash.txt"
    signature.write_bytes(base64.b64decode(signed["signature"]))
    content.write_bytes(audit.read("roothash"))
    verify = (
        *("openssl", "smime", "-verify", "-inform", "DER", "-in", signature, "-binary", "-content", content),
        # By this certificate, not by one that comes with the signature; nobody has certified it.
        *("-nointern", "-noverify", "-certfile", audit.certificate("db")),
    )
    audit.run(*verify)
    content.write_bytes(b"0" * 64)
    assert audit.run(*verify, check=False).returncode != 0


def test_the_esp_holds_the_uki_and_one_byte(audit: Audit, partitions: dict[str, Path]) -> None:
    listed = audit.run("mdir", "-i", partitions["esp"], "-/", "-b", "::").stdout.decode().split()
    files = {name for name in listed if not name.endswith("/")}
    assert files == {"::/EFI/BOOT/BOOTX64.EFI", "::/loader/boot-secret-mixin"}
    contents = {"EFI/BOOT/BOOTX64.EFI": audit.read("uki.efi"), "loader/boot-secret-mixin": b"\0"}
    for name, content in contents.items():
        copy = audit.folder / name.rsplit("/", 1)[1]
        audit.run("mcopy", "-n", "-i", partitions["esp"], f"::/{name}", copy)
        assert copy.read_bytes() == content
    audit.run("fsck.vfat", "-n", partitions["esp"])


def test_the_esp_is_no_larger_than_it_needs(audit: Audit, partitions: dict[str, Path]) -> None:
    # Below 65,525 clusters of one sector it would not be FAT32.
    assert partitions["esp"].stat().st_size <= max(34 << 20, audit.path("uki.efi").stat().st_size + (4 << 20))


def test_the_firmware_trusts_our_keys_and_no_others(audit: Audit) -> None:
    keys = secure_boot_keys(decode_store(audit.read("OVMF_VARS.fd")))
    for name, content in (("PK", keys.pk), ("KEK", keys.kek), ("db", keys.db)):
        certificate = x509.load_pem_x509_certificate(audit.certificate(name).read_bytes())
        (entry,) = signature_lists.decode(content, what=name)
        assert (entry.type, entry.data) == (signature_lists.X509, certificate.public_bytes(Encoding.DER))
    # What virt-firmware forbids by default; it authorises nothing.
    assert all(entry.type == signature_lists.SHA256 for entry in signature_lists.decode(keys.dbx, what="dbx"))


def test_the_variable_store_holds_secure_boot_and_nothing_else(audit: Audit) -> None:
    listing = audit.folder / "variables.json"
    audit.run("virt-fw-vars", "--input", audit.path("OVMF_VARS.fd"), "--output-json", listing)
    names = {variable["name"] for variable in json.loads(listing.read_bytes())["variables"]}
    assert names == {"CustomMode", "KEK", "PK", "SecureBootEnable", "db", "dbx"}
    copy = audit.folder / "aws.json"
    audit.run("virt-fw-vars", "--input", audit.path("uefi-data.aws"), "--output-json", copy)
    in_cloud = {item["name"]: item["data"] for item in json.loads(copy.read_bytes())["variables"]}
    for variable in json.loads(listing.read_bytes())["variables"]:
        if variable["name"] in ("PK", "KEK", "db"):
            assert in_cloud[variable["name"]] == variable["data"]
