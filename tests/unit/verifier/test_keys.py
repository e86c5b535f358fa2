# SPDX-License-Identifier: Apache-2.0
"""Keys of the wrong kind. Missing attributes are in tests/attacks."""

import dataclasses

import pytest

from mantlet.verifier.keys import attestation_key, check_storage_key
from mantlet.verifier.steps import Checks, RefusedError
from mantlet_measure.errors import DecodeError
from mantlet_measure.tpm_structs import (
    Algorithm,
    EccParameters,
    Public,
    RsaParameters,
    Scheme,
    Symmetric,
    decode_public,
    encode_public,
    name,
)
from tests.authority import Authority
from tests.machine import Machine

MACHINE = Machine(authority=Authority())
EVIDENCE = MACHINE.evidence(bytes(32), bytes(32))
ATTESTATION_KEY = decode_public(EVIDENCE.ak_public)
RSA = RsaParameters(symmetric=Symmetric(), scheme=Scheme(), key_bits=2048, exponent=0, modulus=bytes(256))


def point(area: Public) -> EccParameters:
    assert isinstance(area.parameters, EccParameters)
    return area.parameters


def changed(**changes: object) -> bytes:
    return encode_public(dataclasses.replace(ATTESTATION_KEY, **changes))  # type: ignore[arg-type]  # any member


def test_the_attestation_key_is_read_with_its_name() -> None:
    key = attestation_key(EVIDENCE.ak_public)
    assert key.public_key == MACHINE.ak.public_key()
    assert key.name == name(EVIDENCE.ak_public)


@pytest.mark.parametrize(
    ("public", "because"),
    [
        (changed(parameters=RSA), "key type: expected ECC P-256, observed RsaParameters"),
        (changed(name_alg=Algorithm.SHA384), "name algorithm"),
        (changed(parameters=dataclasses.replace(point(ATTESTATION_KEY), curve=4)), "curve"),
        (changed(parameters=dataclasses.replace(point(ATTESTATION_KEY), x=bytes(32))), "a point beside it"),
        (changed(parameters=dataclasses.replace(point(ATTESTATION_KEY), scheme=Scheme())), "scheme"),
        (
            changed(
                parameters=dataclasses.replace(point(ATTESTATION_KEY), symmetric=Symmetric(key_bits=128))
            ),
            "symmetric cipher",
        ),
        (
            changed(
                parameters=dataclasses.replace(
                    point(ATTESTATION_KEY),
                    scheme=Scheme(algorithm=Algorithm.ECDSA, hash_alg=Algorithm.SHA384),
                )
            ),
            "scheme: expected ECDSA with SHA256, observed ECDSA with SHA384",
        ),
    ],
)
def test_an_attestation_key_of_another_kind_is_refused(public: bytes, because: str) -> None:
    with pytest.raises(RefusedError, match=because):
        attestation_key(public)


def test_all_that_is_wrong_with_a_key_is_found() -> None:
    checks = Checks()
    check_storage_key(EVIDENCE.ak_public, checks)
    with pytest.raises(RefusedError) as caught:
        checks.done(hint="-")
    subjects = [finding.subject for finding in caught.value.findings]
    assert subjects == ["attribute DECRYPT", "attribute SIGN_ENCRYPT", "symmetric cipher", "scheme"]


def test_bytes_that_are_no_public_area_are_refused() -> None:
    with pytest.raises(DecodeError, match="TPMT_PUBLIC"):
        attestation_key(EVIDENCE.ak_public[:-1])


def test_a_storage_key_of_this_kind_passes() -> None:
    checks = Checks()
    check_storage_key(EVIDENCE.srk.public, checks)
    checks.done(hint="-")
