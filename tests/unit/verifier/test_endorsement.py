# SPDX-License-Identifier: Apache-2.0
"""Endorsement keys of every kind, and those that are refused. Broken chains are in tests/attacks."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from mantlet.tpm.protected_storage import SHA256_AES128, SHA384_AES256, Protection
from mantlet.verifier.endorsement import endorse
from mantlet.verifier.policy import Trust
from mantlet.verifier.steps import RefusedError
from tests.authority import NOW, Authority
from tests.machine import Machine
from tests.relying_party import RelyingParty

AUTHORITY = Authority()
TRUST = RelyingParty.of(Machine(authority=AUTHORITY)).trust
RSA_2048 = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
CERTIFICATE = AUTHORITY.certify(RSA_2048)


@pytest.mark.parametrize(
    ("key", "protection"),
    [
        (RSA_2048, SHA256_AES128),
        (ec.generate_private_key(ec.SECP256R1()).public_key(), SHA256_AES128),
        (ec.generate_private_key(ec.SECP384R1()).public_key(), SHA384_AES256),
    ],
    ids=["RSA 2048", "P-256", "P-384"],
)
def test_an_endorsement_key_of_a_template_is_accepted(
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey, protection: Protection
) -> None:
    endorsed = endorse(AUTHORITY.certify(key), trust=TRUST, now=NOW)
    assert endorsed.public_key == key
    assert endorsed.protection == protection
    assert (endorsed.manufacturer, endorsed.model) == ("id:00001014", "swtpm")
    assert endorsed.root == "CN=Example TPM root"


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key(),
        ec.generate_private_key(ec.SECP521R1()).public_key(),
    ],
    ids=["RSA 1024", "P-521"],
)
def test_an_endorsement_key_of_no_template_is_refused(
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
) -> None:
    with pytest.raises(RefusedError, match="endorsement key: expected RSA of 2048"):
        endorse(AUTHORITY.certify(key), trust=TRUST, now=NOW)


def test_roots_may_come_in_any_order_and_beside_others() -> None:
    known = (*Authority().certificates, *reversed(AUTHORITY.certificates))
    trust = Trust(policy=TRUST.policy, ek_certificates=known, deployment_keys=TRUST.deployment_keys)
    assert endorse(CERTIFICATE, trust=trust, now=NOW).root == "CN=Example TPM root"


@settings(max_examples=150, deadline=None)
@given(bit=st.integers(0, 8 * len(CERTIFICATE) - 1))
def test_a_certificate_with_one_flipped_bit_is_refused(bit: int) -> None:
    data = bytearray(CERTIFICATE)
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(RefusedError):
        endorse(bytes(data), trust=TRUST, now=NOW)


@given(st.binary(max_size=64))
def test_any_bytes_that_are_no_certificate_are_refused(data: bytes) -> None:
    with pytest.raises(RefusedError):
        endorse(data, trust=TRUST, now=NOW)
