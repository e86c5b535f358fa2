# SPDX-License-Identifier: Apache-2.0
"""The agent's evidence against a software TPM, checked with cryptography and tpm2-pytss alone."""

import hashlib
import secrets

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from tpm2_pytss import TPM2B_PUBLIC, TPMS_ATTEST, TPMT_PUBLIC, TPMT_SIGNATURE
from tpm2_pytss.utils import make_credential

from mantlet_agent.attest import Attester, CredentialError, MovedError, Situation
from mantlet_agent.inspection import inspect_tpm
from mantlet_agent.stages import Code, StageError
from mantlet_agent.tpm import EK_HANDLE, Tpm
from mantlet_measure import dsse, evidence
from mantlet_measure.cel import agent_record
from mantlet_measure.evidence import EVIDENCE_LABEL, SRK_LABEL, Evidence, State, qualifying_data
from mantlet_measure.pcr import BANKS, extend, zero
from mantlet_measure.tpm_structs import name

NONCE = bytes(range(32))
SITUATION = Situation(
    state=State.SERVING,
    manifest_sha256=b"m" * 32,
    tls_spki_sha256=b"t" * 32,
    firmware_log=b"firmware",
    system_log=b"system",
    agent_log=(agent_record(0, "deployment", "mantlet:deployment:00"),),
    deployment=dsse.Envelope(payload_type="t", payload=b"{}", signatures=()),
)
# TPM 2.0 Library, Part 2, 8.3: fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, restricted, sign
AK_ATTRIBUTES = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 16 | 1 << 18


@pytest.fixture
def attester(tpm: Tpm) -> Attester:
    return Attester(tpm)


@pytest.fixture
def answer(attester: Attester) -> Evidence:
    return attester.evidence(NONCE, lambda: SITUATION)


def verify_signature(public: bytes, attest: bytes, signature: bytes) -> None:
    point = TPMT_PUBLIC.unmarshal(public)[0].unique.ecc
    numbers = ec.EllipticCurvePublicNumbers(
        int.from_bytes(bytes(point.x)), int.from_bytes(bytes(point.y)), ec.SECP256R1()
    )
    ecdsa = TPMT_SIGNATURE.unmarshal(signature)[0].signature.ecdsa
    der = encode_dss_signature(
        int.from_bytes(bytes(ecdsa.signatureR)), int.from_bytes(bytes(ecdsa.signatureS))
    )
    numbers.public_key().verify(der, attest, ec.ECDSA(SHA256()))


def test_evidence_survives_its_own_encoding(answer: Evidence) -> None:
    assert evidence.decode(evidence.encode(answer)) == answer


def test_the_quote_is_signed_and_bound_to_nonce_tls_key_and_manifest(answer: Evidence) -> None:
    verify_signature(answer.ak_public, answer.quote.attest, answer.quote.signature)
    attest = TPMS_ATTEST.unmarshal(answer.quote.attest)[0]
    assert bytes(attest.extraData) == qualifying_data(
        EVIDENCE_LABEL, nonce=NONCE, spki_sha256=b"t" * 32, manifest_sha256=b"m" * 32
    )


def test_the_quote_covers_registers_0_to_15_of_both_banks(answer: Evidence, tpm: Tpm) -> None:
    quoted = TPMS_ATTEST.unmarshal(answer.quote.attest)[0].attested.quote
    selected = [(int(item.hash), item.sizeofSelect, bytes(item.pcrSelect)[:3]) for item in quoted.pcrSelect]
    assert selected == [(bank.tpm_alg, 3, b"\xff\xff\x00") for bank in BANKS]
    values = b"".join(answer.pcrs[bank][register] for bank in BANKS for register in range(16))
    assert bytes(quoted.pcrDigest) == hashlib.sha256(values).digest()
    assert answer.pcrs == tpm.read()


def test_the_storage_key_is_certified_under_a_label_of_its_own(answer: Evidence) -> None:
    verify_signature(answer.ak_public, answer.srk.attest, answer.srk.signature)
    attest = TPMS_ATTEST.unmarshal(answer.srk.attest)[0]
    assert bytes(attest.attested.certify.name) == name(answer.srk.public)
    assert bytes(attest.extraData) == qualifying_data(
        SRK_LABEL, nonce=NONCE, spki_sha256=b"t" * 32, manifest_sha256=b"m" * 32
    )


def test_the_attestation_key_signs_only_what_the_tpm_makes(answer: Evidence) -> None:
    public = TPMT_PUBLIC.unmarshal(answer.ak_public)[0]
    assert int(public.objectAttributes) == AK_ATTRIBUTES


def test_the_attestation_key_is_the_same_at_every_boot(answer: Evidence, tcti: str) -> None:
    with Tpm.open(tcti) as again:
        assert again.attestation()[1].marshal() == answer.ak_public


def test_the_endorsement_certificate_is_of_the_endorsement_key(answer: Evidence, tpm: Tpm) -> None:
    key = x509.load_der_x509_certificate(answer.ek_certificate).public_key()
    assert isinstance(key, RSAPublicKey)
    modulus = bytes(tpm.endorsement()[1].unique.rsa)
    assert key.public_numbers().n == int.from_bytes(modulus)


def test_the_endorsement_key_is_the_certified_one_without_the_persistent_copy(
    answer: Evidence, tpm: Tpm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mantlet_agent.tpm.EK_HANDLE", EK_HANDLE + 0x1000)
    key = x509.load_der_x509_certificate(answer.ek_certificate).public_key()
    assert isinstance(key, RSAPublicKey)
    assert int.from_bytes(bytes(tpm.endorsement()[1].unique.rsa)) == key.public_numbers().n


def credential(tpm: Tpm, ak_name: bytes, secret: bytes) -> tuple[bytes, bytes]:
    _, ek = tpm.endorsement()
    blob, encrypted = make_credential(TPM2B_PUBLIC(publicArea=ek), secret, ak_name)
    return bytes(blob), bytes(encrypted)


def test_a_credential_for_this_pair_of_keys_is_activated(
    attester: Attester, answer: Evidence, tpm: Tpm
) -> None:
    secret = secrets.token_bytes(32)
    assert attester.activate(*credential(tpm, name(answer.ak_public), secret)) == secret


def test_a_credential_for_another_attestation_key_is_refused(
    attester: Attester, answer: Evidence, tpm: Tpm
) -> None:
    other = name(answer.ak_public)[:-1] + bytes([name(answer.ak_public)[-1] ^ 1])
    with pytest.raises(CredentialError):
        attester.activate(*credential(tpm, other, bytes(32)))


@pytest.mark.parametrize("sizes", [(0, 0), (1, 256), (66, 255), (1024, 1024)])
def test_bytes_that_are_no_credential_are_refused(attester: Attester, sizes: tuple[int, int]) -> None:
    with pytest.raises(CredentialError):
        attester.activate(bytes(sizes[0]), bytes(sizes[1]))


def test_a_hundred_questions_leave_nothing_behind_in_the_tpm(attester: Attester) -> None:
    for _ in range(50):
        attester.evidence(NONCE, lambda: SITUATION)
        with pytest.raises(CredentialError):
            attester.activate(bytes(66), bytes(256))
    assert attester.evidence(NONCE, lambda: SITUATION).nonce == NONCE


def test_registers_that_move_during_the_quote_are_quoted_again(attester: Attester, tpm: Tpm) -> None:
    moves = iter([b"late", None, None, None])

    def situation() -> Situation:
        word = next(moves)
        if word:
            # The first situation is read before the quote, so this one lands in it; the second is read after.
            tpm.extend(16, word)
        return SITUATION

    assert attester.evidence(NONCE, situation).pcrs == tpm.read()


def test_evidence_of_a_situation_that_never_stands_still_is_not_given(attester: Attester) -> None:
    states = iter([State.SERVING, State.AWAITING_KEY] * 10)

    def situation() -> Situation:
        return Situation(
            state=next(states),
            manifest_sha256=b"m" * 32,
            tls_spki_sha256=b"t" * 32,
            firmware_log=b"",
            system_log=b"",
            agent_log=(),
            deployment=SITUATION.deployment,
        )

    with pytest.raises(MovedError):
        attester.evidence(NONCE, situation)


def test_a_word_is_extended_into_both_banks(tpm: Tpm) -> None:
    tpm.extend(15, b"mantlet:cap")
    values = tpm.read((15,))
    for bank in BANKS:
        assert values[bank][15] == extend(bank, zero(bank), bank.digest(b"mantlet:cap"))


def test_a_boot_that_nobody_measured_is_refused(tpm: Tpm) -> None:
    with pytest.raises(StageError) as error:
        inspect_tpm(tpm)
    assert error.value.code is Code.REGISTERS_EMPTY


def test_a_second_run_in_one_boot_is_refused(tpm: Tpm) -> None:
    for register in (0, 7, 15):
        tpm.extend(register, b"x")
    with pytest.raises(StageError) as error:
        inspect_tpm(tpm)
    assert error.value.code is Code.REGISTER_USED


def test_a_measured_boot_is_accepted_once(tpm: Tpm) -> None:
    for register in (0, 7):
        tpm.extend(register, b"x")
    inspect_tpm(tpm)


def test_a_machine_without_a_tpm_is_refused(tmp_path: object) -> None:
    with pytest.raises(StageError) as error:
        Tpm.open(f"swtpm:path={tmp_path}/none")
    assert error.value.code is Code.TPM_ABSENT
