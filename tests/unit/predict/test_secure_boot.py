# SPDX-License-Identifier: Apache-2.0
"""Tests of variable stores, signature lists, and of the images that Secure Boot would not start."""

import dataclasses
import hashlib
import json
from typing import Any
from uuid import UUID

import pytest
from cryptography import x509

from mantlet.predict import pe, secure_boot, signature_lists, uki
from mantlet.predict.authenticode import authenticode
from mantlet.predict.authorisation import UnauthorisedError
from mantlet.predict.boot import Addon, Boot, Loader, SecureBootState
from mantlet.predict.signature_lists import SHA256, X509, X509_SHA256
from mantlet.predict.variables import SecureBootKeys, decode_store, secure_boot_keys
from mantlet_measure.errors import DecodeError
from mantlet_measure.pcr import ALL_BANKS, Bank, Event
from tests.unit.predict import synthetic
from tests.unit.predict.boots import NO_KEYS, boot

_STORE = 72  # Where the variable store starts in OVMF_VARS.fd: the firmware volume header's length.


@pytest.fixture
def keys(artefacts: Any) -> SecureBootKeys:
    return secure_boot_keys(decode_store(artefacts.read("OVMF_VARS.fd")))


def _boot(data: bytes, keys: SecureBootKeys, **changes: Any) -> Boot:
    state = SecureBootState(enabled=True, keys=keys)
    return boot(uki.decode(data), **{"secure_boot": state, **changes})


def _events(data: bytes, keys: SecureBootKeys, **changes: Any) -> tuple[Event, ...]:
    return secure_boot.events(_boot(data, keys, **changes)).events


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


def test_store_without_enrolled_keys_is_in_setup_mode(artefacts: Any) -> None:
    blank = artefacts.run("cat", "/usr/share/OVMF/OVMF_VARS_4M.fd")
    assert secure_boot.state(decode_store(blank), what="x") == SecureBootState(enabled=False, keys=NO_KEYS)


def test_switch_of_the_store_turns_secure_boot_off_and_its_absence_does_not(artefacts: Any) -> None:
    variables = dict(decode_store(artefacts.read("OVMF_VARS.fd")))
    name = next(key for key in variables if key[1] == "SecureBootEnable")
    off = secure_boot.state(variables | {name: b"\0"}, what="x")
    on = secure_boot.state({key: value for key, value in variables.items() if key != name}, what="x")
    assert (off.enabled, on.enabled, off.keys) == (False, True, on.keys)


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
        _events(artefacts.read("unsigned.efi"), keys)


def test_image_signed_by_a_key_that_is_not_enrolled_is_refused(artefacts: Any, keys: SecureBootKeys) -> None:
    with pytest.raises(UnauthorisedError, match="CN=test other"):
        _events(artefacts.sign("foreign.efi", key="other"), keys)


def test_image_changed_after_it_was_signed_is_refused(artefacts: Any, keys: SecureBootKeys) -> None:
    data = bytearray(artefacts.read("uki.efi"))
    data[data.index(b"console=null")] ^= 1
    with pytest.raises(DecodeError, match="the hash of this image"):
        _events(bytes(data), keys)


def test_signature_with_one_bit_flipped_is_refused(artefacts: Any, keys: SecureBootKeys) -> None:
    data = bytearray(artefacts.read("uki.efi"))
    image = pe.decode(bytes(data))
    # The RSA signature is the last thing in the PKCS#7 message, before the padding.
    end = len(bytes(image.certificates).rstrip(b"\0"))
    data[len(data) - len(image.certificates) + end - 10] ^= 1
    with pytest.raises(DecodeError, match="UKI signature"):
        _events(bytes(data), keys)


def test_image_whose_hash_was_revoked_is_refused(artefacts: Any, keys: SecureBootKeys) -> None:
    image = pe.decode(artefacts.read("uki.efi"))
    revoked = dataclasses.replace(keys, dbx=_list(SHA256, authenticode(image, Bank.SHA256)))
    with pytest.raises(UnauthorisedError, match="dbx"):
        _events(bytes(image.data), revoked)


def test_image_whose_signer_was_revoked_is_refused(artefacts: Any, keys: SecureBootKeys) -> None:
    revoked = dataclasses.replace(keys, dbx=_list(X509, _certificate(artefacts, "db")))
    with pytest.raises(UnauthorisedError, match="db"):
        _events(artefacts.read("uki.efi"), revoked)


def test_signature_by_sbsign_authorises_as_well(artefacts: Any, keys: SecureBootKeys) -> None:
    key, certificate, signed = (artefacts.path(name) for name in ("db.key", "db.pem", "sbsigned.efi"))
    artefacts.run(
        "sbsign", "--key", key, "--cert", certificate, "--output", signed, artefacts.path("unsigned.efi")
    )
    ours = _events(artefacts.read("sbsigned.efi"), keys)
    assert ours == _events(artefacts.read("uki.efi"), keys)


def test_issuer_in_db_authorises_what_its_certificate_signed(artefacts: Any, keys: SecureBootKeys) -> None:
    key, request, leaf = (artefacts.path(f"leaf.{kind}") for kind in ("key", "csr", "pem"))
    names = ("-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test leaf/", "-keyout", key, "-out", request)
    artefacts.run("openssl", "req", *names)
    issuer = ("-CA", artefacts.path("db.pem"), "-CAkey", artefacts.path("db.key"), "-days", "30")
    artefacts.run("openssl", "x509", "-req", "-in", request, *issuer, "-out", leaf)
    assert _events(artefacts.sign("leaf.efi", key="leaf"), keys) == _events(artefacts.read("uki.efi"), keys)


def test_image_whose_signer_was_revoked_by_hash_is_refused(artefacts: Any, keys: SecureBootKeys) -> None:
    certificate = x509.load_der_x509_certificate(_certificate(artefacts, "db"))
    digest = hashlib.sha256(certificate.tbs_certificate_bytes).digest()
    revoked = dataclasses.replace(keys, dbx=_list(X509_SHA256, digest + bytes(16)))
    with pytest.raises(UnauthorisedError, match="its signer CN=test db"):
        _events(artefacts.read("uki.efi"), revoked)


def _issue(artefacts: Any, name: str, *, issuer: str) -> None:
    """Make a certificate of the key `name` that `issuer` signs."""
    path = artefacts.path
    new = ("-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}/", "-keyout", path(f"{name}.key"))
    artefacts.run("openssl", "req", *new, "-out", path("csr"))
    (artefacts.folder / "ca.cnf").write_text("basicConstraints=critical,CA:TRUE\n")
    by = ("-CA", path(f"{issuer}.pem"), "-CAkey", path(f"{issuer}.key"), "-extfile", path("ca.cnf"))
    artefacts.run(
        "openssl", "x509", "-req", "-in", path("csr"), *by, "-days", "30", "-out", path(f"{name}.pem")
    )


def test_root_in_db_authorises_through_an_intermediate_that_came_with_the_signature(artefacts: Any) -> None:
    for name, issuer in (("middle", "db"), ("end", "middle")):
        _issue(artefacts, name, issuer=issuer)
    key, certificate, middle = (artefacts.path(name) for name in ("end.key", "end.pem", "middle.pem"))
    files = ("--addcert", middle, "--output", artefacts.path("chain.efi"), artefacts.path("unsigned.efi"))
    artefacts.run("sbsign", "--key", key, "--cert", certificate, *files)
    db = _list(X509, _certificate(artefacts, "db"))
    chained = dataclasses.replace(NO_KEYS, pk=b"pk", db=db)
    assert len(_events(artefacts.read("chain.efi"), chained)) == 7
    with pytest.raises(UnauthorisedError, match="CN=end"):
        _events(artefacts.read("chain.efi"), dataclasses.replace(chained, db=_list(SHA256, bytes(32))))
    denied = dataclasses.replace(chained, dbx=_list(X509, _certificate(artefacts, "middle")))
    with pytest.raises(UnauthorisedError, match="dbx"):
        _events(artefacts.read("chain.efi"), denied)


def test_hash_in_db_authorises_an_image_without_signatures(artefacts: Any, keys: SecureBootKeys) -> None:
    data = artefacts.read("unsigned.efi")
    digest = authenticode(pe.decode(data), Bank.SHA256)
    listed = dataclasses.replace(keys, db=keys.db + _list(SHA256, digest))
    authority = _events(data, listed)[-1]
    # UEFI_VARIABLE_DATA of db with EFI_SIGNATURE_DATA: owner (zeros, see _list) and hash.
    head = bytes.fromhex("cbb219d73a3d9645a3bcdad00e67656f") + bytes([2, *[0] * 7, 48, *[0] * 7])
    assert authority.digests[Bank.SHA256] == hashlib.sha256(head + b"d\0b\0" + bytes(16) + digest).digest()


def test_each_authority_is_measured_once_at_the_first_image_that_needs_it(
    artefacts: Any, keys: SecureBootKeys
) -> None:
    data = artefacts.read("uki.efi")
    loader = Loader(image=pe.decode(data, what="loader"), version=262, configuration=None)
    unsigned = pe.decode(synthetic.uki({".cmdline": b"quiet"}), what="add-on")
    listed = dataclasses.replace(keys, db=keys.db + _list(SHA256, authenticode(unsigned, Bank.SHA256)))
    addon = Addon(name="a.addon.efi", image=unsigned, is_global=True)
    events = _events(data, listed, loader=loader, addons=(addon,))
    assert [event.description for event in events[6:]] == [
        "db entry that authorised systemd-boot",
        "db entry that authorised add-on a.addon.efi",
    ]


def test_with_secure_boot_off_the_enrolled_keys_are_measured_and_no_authority(
    artefacts: Any, keys: SecureBootKeys
) -> None:
    state = SecureBootState(enabled=False, keys=keys)
    off = _events(artefacts.read("unsigned.efi"), keys, secure_boot=state)
    on = _events(artefacts.read("uki.efi"), keys)
    assert len(off) == 6
    assert off[1:] == on[1:6]
    assert off[0] != on[0]


def test_register_7_is_predicted_in_every_bank(artefacts: Any, keys: SecureBootKeys) -> None:
    events = secure_boot.events(_boot(artefacts.read("uki.efi"), keys), ALL_BANKS).events
    assert all(tuple(event.digests) == ALL_BANKS for event in events)
    assert all(len(event.digests[bank]) == bank.size for event in events for bank in ALL_BANKS)


def test_signature_list_over_its_limit_is_refused() -> None:
    with pytest.raises(DecodeError, match="at most"):
        signature_lists.decode(bytes((1 << 20) + 1), what="variable db")


def test_entry_of_db_that_is_no_certificate_is_passed_over(artefacts: Any, keys: SecureBootKeys) -> None:
    data = artefacts.read("uki.efi")
    (known,) = signature_lists.decode(keys.db, what="db")
    # RFC 5280, 4.1.2.1: versions are 1 to 3, encoded as 0 to 2.
    version_7 = known.data.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x06", 1)
    assert version_7 != known.data
    for odd in (b"no certificate at all", version_7):
        garbled = dataclasses.replace(keys, db=_list(X509, odd) + keys.db)
        assert _events(data, garbled)[-1] == _events(data, keys)[-1]
