# SPDX-License-Identifier: Apache-2.0
"""Tests of variable stores, signature lists, and of the images that Secure Boot would not start."""

import dataclasses
import json
from typing import Any
from uuid import UUID

import pytest

from mantlet.predict import pe, secure_boot, signature_lists
from mantlet.predict.authenticode import authenticode
from mantlet.predict.secure_boot import UnauthorisedError
from mantlet.predict.signature_lists import SHA256, X509
from mantlet.predict.variables import SecureBootKeys, decode_store, secure_boot_keys
from mantlet_measure.errors import DecodeError
from mantlet_measure.pcr import Bank

_STORE = 72  # Where the variable store starts in OVMF_VARS.fd: the firmware volume header's length.


@pytest.fixture
def keys(artefacts: Any) -> SecureBootKeys:
    return secure_boot_keys(decode_store(artefacts.read("OVMF_VARS.fd")))


def _list(kind: UUID, *entries: bytes) -> bytes:
    """One EFI signature list of entries of the same size."""
    size = 16 + len(entries[0])
    head = (
        kind.bytes_le
        + (28 + size * len(entries)).to_bytes(4, "little")
        + bytes(4)
        + size.to_bytes(4, "little")
    )
    return head + b"".join(bytes(16) + entry for entry in entries)


def _certificate(artefacts: Any, key: str) -> bytes:
    der = artefacts.run("openssl", "x509", "-in", artefacts.path(f"{key}.pem"), "-outform", "der")
    assert isinstance(der, bytes)
    return der


def test_variables_are_those_that_virt_firmware_wrote(artefacts: Any) -> None:
    listed = json.loads(artefacts.read("vars.json"))["variables"]
    expected = {(UUID(item["guid"]), item["name"]): bytes.fromhex(item["data"]) for item in listed}
    assert decode_store(artefacts.read("OVMF_VARS.fd")) == expected
    assert len(expected) >= 5


def test_signature_list_holds_the_enrolled_certificate(artefacts: Any, keys: SecureBootKeys) -> None:
    (entry,) = signature_lists.decode(keys.db, what="variable db")
    assert (entry.type, entry.data) == (X509, _certificate(artefacts, "db"))


def test_store_without_enrolled_keys_is_refused(artefacts: Any) -> None:
    blank = artefacts.run("cat", "/usr/share/OVMF/OVMF_VARS_4M.fd")
    with pytest.raises(DecodeError, match="Secure Boot on"):
        secure_boot_keys(decode_store(blank))


def test_store_with_secure_boot_switched_off_is_refused(artefacts: Any) -> None:
    variables = dict(decode_store(artefacts.read("OVMF_VARS.fd")))
    name = next(key for key in variables if key[1] == "SecureBootEnable")
    with pytest.raises(DecodeError, match="Secure Boot on"):
        secure_boot_keys(variables | {name: b"\0"})


def test_store_with_a_list_that_is_not_modelled_is_refused(artefacts: Any) -> None:
    variables = dict(decode_store(artefacts.read("OVMF_VARS.fd")))
    vendor = next(key[0] for key in variables if key[1] == "db")
    with pytest.raises(DecodeError, match="no variable dbt"):
        secure_boot_keys(variables | {(vendor, "dbt"): b"x"})


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (16, b"\0"),
        (40, b"_XXX"),
        (32, b"\xff" * 8),
        (48, b"\x08\x00"),
        (_STORE, b"\0"),
        (_STORE + 16, b"\xff\xff\xff\xff"),
        (_STORE + 20, b"\x5a\x00"),
        (_STORE + 28, b"\x00\x00"),
        (_STORE + 28 + 2, b"\x3e"),
        (_STORE + 28 + 2, b"\x7f"),
        (_STORE + 28 + 36, b"\xff\xff\xff\x7f"),
    ],
)
def test_damaged_or_unsettled_store_is_refused(artefacts: Any, at: int, value: bytes) -> None:
    data = artefacts.read("OVMF_VARS.fd")
    with pytest.raises(DecodeError, match="OVMF_VARS"):
        decode_store(data[:at] + value + data[at + len(value) :])


def test_store_over_its_limit_is_refused() -> None:
    with pytest.raises(DecodeError, match="at most"):
        decode_store(bytes((16 << 20) + 1))


def test_store_that_is_full_to_the_last_byte_is_read(artefacts: Any) -> None:
    data = artefacts.read("OVMF_VARS.fd")
    # The first variable is CustomMode: 60 bytes of header, a name of 22 and one byte, padded to 4.
    size = (28 + 84).to_bytes(4, "little")
    small = data[: _STORE + 16] + size + data[_STORE + 20 :]
    assert [name for _, name in decode_store(small)] == ["CustomMode"]


def test_deleted_variable_is_not_there(artefacts: Any) -> None:
    data = artefacts.read("OVMF_VARS.fd")
    first = next(iter(decode_store(data)))
    deleted = data[: _STORE + 30] + b"\x3d" + data[_STORE + 31 :]
    assert first not in decode_store(deleted)


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_truncated_signature_list_is_refused(keys: SecureBootKeys, cut: int) -> None:
    with pytest.raises(DecodeError, match="variable db"):
        signature_lists.decode(keys.db[:-cut], what="variable db")


def test_signature_list_of_torn_signatures_is_refused() -> None:
    whole = _list(SHA256, bytes(32), bytes(32))
    torn = whole[:24] + (33).to_bytes(4, "little") + whole[28:]
    with pytest.raises(DecodeError, match="whole signatures"):
        signature_lists.decode(torn, what="variable db")


def test_unsigned_image_is_refused(artefacts: Any, keys: SecureBootKeys) -> None:
    with pytest.raises(DecodeError, match="no signature"):
        secure_boot.events(pe.decode(artefacts.read("unsigned.efi")), keys)


def test_image_signed_by_a_key_that_is_not_enrolled_is_refused(artefacts: Any, keys: SecureBootKeys) -> None:
    foreign = pe.decode(artefacts.sign("foreign.efi", key="other"))
    with pytest.raises(UnauthorisedError, match="CN=test other"):
        secure_boot.events(foreign, keys)


def test_image_changed_after_it_was_signed_is_refused(artefacts: Any, keys: SecureBootKeys) -> None:
    data = bytearray(artefacts.read("uki.efi"))
    data[data.index(b"console=null")] ^= 1
    with pytest.raises(DecodeError, match="the hash of this image"):
        secure_boot.events(pe.decode(bytes(data)), keys)


def test_signature_with_one_bit_flipped_is_refused(artefacts: Any, keys: SecureBootKeys) -> None:
    data = bytearray(artefacts.read("uki.efi"))
    image = pe.decode(bytes(data))
    # The RSA signature is the last thing in the PKCS#7 message, before the padding.
    end = len(bytes(image.certificates).rstrip(b"\0"))
    data[len(data) - len(image.certificates) + end - 10] ^= 1
    with pytest.raises(DecodeError, match="UKI signature"):
        secure_boot.events(pe.decode(bytes(data)), keys)


def test_image_whose_hash_was_revoked_is_refused(artefacts: Any, keys: SecureBootKeys) -> None:
    image = pe.decode(artefacts.read("uki.efi"))
    revoked = dataclasses.replace(keys, dbx=_list(SHA256, authenticode(image, Bank.SHA256)))
    with pytest.raises(UnauthorisedError, match="dbx"):
        secure_boot.events(image, revoked)


def test_image_whose_signer_was_revoked_is_refused(artefacts: Any, keys: SecureBootKeys) -> None:
    revoked = dataclasses.replace(keys, dbx=_list(X509, _certificate(artefacts, "db")))
    with pytest.raises(UnauthorisedError, match="db"):
        secure_boot.events(pe.decode(artefacts.read("uki.efi")), revoked)


def test_signature_by_sbsign_authorises_as_well(artefacts: Any, keys: SecureBootKeys) -> None:
    key, certificate, signed = (artefacts.path(name) for name in ("db.key", "db.pem", "sbsigned.efi"))
    artefacts.run(
        "sbsign", "--key", key, "--cert", certificate, "--output", signed, artefacts.path("unsigned.efi")
    )
    ours = secure_boot.events(pe.decode(artefacts.read("sbsigned.efi")), keys)
    assert ours == secure_boot.events(pe.decode(artefacts.read("uki.efi")), keys)


def test_issuer_in_db_authorises_what_its_certificate_signed(artefacts: Any, keys: SecureBootKeys) -> None:
    key, request, leaf = (artefacts.path(f"leaf.{kind}") for kind in ("key", "csr", "pem"))
    names = ("-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test leaf/", "-keyout", key, "-out", request)
    artefacts.run("openssl", "req", *names)
    issuer = ("-CA", artefacts.path("db.pem"), "-CAkey", artefacts.path("db.key"), "-days", "30")
    artefacts.run("openssl", "x509", "-req", "-in", request, *issuer, "-out", leaf)
    image = pe.decode(artefacts.sign("leaf.efi", key="leaf"))
    assert secure_boot.events(image, keys) == secure_boot.events(pe.decode(artefacts.read("uki.efi")), keys)
