# SPDX-License-Identifier: Apache-2.0
"""Tests of Authenticode signatures that lie: each says something else than the image it is attached to."""

from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from mantlet.predict import der, pe
from mantlet.predict.authenticode import authenticode
from mantlet.predict.signature import Signer, signers, subject
from mantlet_measure.errors import DecodeError
from mantlet_measure.pcr import Bank
from tests.unit.predict import synthetic
from tests.unit.predict.signing import Knobs, attach, certificate, entry, pkcs7, rsa_key, tlv

UNSIGNED = synthetic.uki()
DIGEST = authenticode(pe.decode(UNSIGNED), Bank.SHA256)


def _signers(table: bytes) -> tuple[Signer, ...]:
    return signers(pe.decode(attach(UNSIGNED, table)), DIGEST)


def test_signer_of_the_image_is_found() -> None:
    (signer,) = _signers(entry(pkcs7(Knobs(digest=DIGEST))))
    assert signer == Signer(certificate=certificate(rsa_key()), others=())


def test_every_signature_of_the_table_is_read() -> None:
    one = entry(pkcs7(Knobs(digest=DIGEST, revocation_lists=True)))
    assert len(_signers(one + one)) == 2


def test_first_of_two_certificates_need_not_be_the_signer() -> None:
    other = certificate(ec.generate_private_key(ec.SECP256R1())).public_bytes(Encoding.DER)
    foreign = other.replace((4711).to_bytes(2, "big"), (4712).to_bytes(2, "big"), 1)
    own = certificate(rsa_key()).public_bytes(Encoding.DER)
    (signer,) = _signers(entry(pkcs7(Knobs(digest=DIGEST, certificates=[foreign, own]))))
    assert signer.certificate == certificate(rsa_key())
    assert [found.serial_number for found in signer.others] == [4712]


def test_certificate_that_came_along_and_cannot_be_read_is_passed_over() -> None:
    foreign = _BROKEN.replace((4711).to_bytes(2, "big"), (4712).to_bytes(2, "big"), 1)
    own = certificate(rsa_key()).public_bytes(Encoding.DER)
    version_9 = foreign.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x09", 1)
    (signer,) = _signers(entry(pkcs7(Knobs(digest=DIGEST, certificates=[version_9, own]))))
    assert signer.others == ()


def test_name_of_a_signer_that_is_no_text_is_said_to_be_unreadable() -> None:
    own = x509.load_der_x509_certificate(_OWN)
    text = own.subject.rfc4514_string().removeprefix("CN=").encode()
    garbled = x509.load_der_x509_certificate(_OWN.replace(text, b"\xff" * len(text)))
    assert subject(own) == f"CN={text.decode()}"
    assert subject(garbled) == "a name that cannot be read"


def test_signature_with_certificates_without_end_is_refused() -> None:
    own = certificate(rsa_key()).public_bytes(Encoding.DER)
    with pytest.raises(DecodeError, match="at most 32 certificates"):
        _signers(entry(pkcs7(Knobs(digest=DIGEST, certificates=[own] * 33))))


_ELLIPTIC = certificate(ec.generate_private_key(ec.SECP256R1())).public_bytes(Encoding.DER)
_OWN = certificate(rsa_key()).public_bytes(Encoding.DER)
# The first 16 bytes of the subject public key, overwritten: no longer a key that can be loaded.
_BROKEN = _OWN.replace(bytes.fromhex("06092a864886f70d010101"), bytes.fromhex("06092a864886f70d0101ff"), 1)
# RFC 5280, 4.1.2.1: versions are 1 to 3, encoded as 0 to 2.
_VERSION_7 = _OWN.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x06", 1)
_VERSION_1 = tlv(
    0x30, tlv(0x30, b"\x02\x02\x12\x67", tlv(0x30), certificate(rsa_key()).issuer.public_bytes())
)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"digest": bytes(32)}, "the hash of this image"),
        ({"message_digest": bytes(32)}, "signed attributes of its content"),
        ({"with_message_digest": False}, "a message digest attribute"),
        ({"digest_oid": "06052b0e03021a"}, "object identifier"),
        ({"content_oid": "06092a864886f70d010701"}, "object identifier"),
        ({"serial": 4712}, "the signer's certificate inside"),
        ({"certificates": []}, "the signer's certificate inside"),
        ({"certificates": [_ELLIPTIC]}, "an RSA key"),
        ({"certificates": [_BROKEN]}, "an X.509 certificate"),
        ({"certificates": [_VERSION_1]}, "an X.509 certificate"),
        ({"certificates": [_VERSION_7]}, "an X.509 certificate"),
    ],
)
def test_signature_that_does_not_belong_to_the_image_is_refused(changes: dict[str, Any], why: str) -> None:
    knobs = Knobs(**{"digest": DIGEST, **changes})
    with pytest.raises(DecodeError, match=why):
        _signers(entry(pkcs7(knobs)))


def test_signature_by_another_key_under_the_same_name_is_refused() -> None:
    good = pkcs7(Knobs(digest=DIGEST))
    with pytest.raises(DecodeError, match="a valid RSA signature"):
        _signers(entry(good[:-1] + bytes([good[-1] ^ 1])))


@pytest.mark.parametrize(
    "table",
    [
        entry(b"", kind=1),
        entry(pkcs7(Knobs(digest=DIGEST)), kind=0x0EF1),
        entry(pkcs7(Knobs(digest=DIGEST)))[:-8],
        entry(b""),
        entry(b"\x30\x82\x00\x00\x00\x00"),
        (4).to_bytes(4, "little") + b"\x00\x02\x02\x00",
    ],
)
def test_certificate_table_of_other_contents_is_refused(table: bytes) -> None:
    with pytest.raises(DecodeError, match="UKI signature"):
        _signers(table)


@pytest.mark.parametrize(
    "data", [b"\x30\x80", b"\x30\x81\x01\x00", b"\x30\x82\x00\x80", b"\x30\x85\1\0\0\0\0", b"\x31\x00"]
)
def test_der_value_with_another_tag_or_a_long_winded_length_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError, match="sample"):
        der.Values(data, "sample").next(der.SEQUENCE)


def test_der_value_behind_the_last_is_refused() -> None:
    with pytest.raises(DecodeError, match="2 more bytes"):
        der.Values(b"\x05\x00", "sample").end()
