# SPDX-License-Identifier: Apache-2.0
"""What is computed without a TPM opens in one: the second source of sealing and credentials is a software
TPM."""

import secrets
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from tpm2_pytss import (
    ESAPI,
    ESYS_TR,
    TPM2_ALG,
    TPM2_EO,
    TPM2_RH,
    TPM2_SE,
    TPM2_ST,
    TPM2B_DATA,
    TPM2B_DIGEST,
    TPM2B_ENCRYPTED_SECRET,
    TPM2B_ID_OBJECT,
    TPM2B_NAME,
    TPM2B_NONCE,
    TPM2B_NV_PUBLIC,
    TPM2B_PRIVATE,
    TPM2B_PUBLIC,
    TPM2B_SENSITIVE_CREATE,
    TPMA_NV,
    TPML_DIGEST,
    TPML_PCR_SELECTION,
    TPMS_NV_PUBLIC,
    TPMT_PUBLIC,
    TPMT_SIGNATURE,
    TPMT_SYM_DEF,
    TPMT_SYM_DEF_OBJECT,
    TPMT_TK_VERIFIED,
    TSS2_Exception,
)
from tpm2_pytss.utils import NVReadEK, create_ek_template

from mantlet.tpm.protected_storage import SHA256_AES128, SHA384_AES256, Protection
from mantlet.verifier.credential import Credential, make_credential
from mantlet.weights.approve import policy_key_public
from mantlet.weights.policy import pcr_policy
from mantlet_measure.epoch_counter import EpochCounter, operand
from mantlet_measure.handover import Handover
from mantlet_measure.pcr import BANKS, ENFORCED, Bank
from mantlet_measure.policy import approval_digest, authorize_policy, nv_unwritten_policy, or_policy
from mantlet_measure.tpm_structs import name
from tests.sealing import Owner

SELECTION = "+".join(f"{bank}:{','.join(map(str, ENFORCED))}" for bank in BANKS)
STORAGE_KEY = "ecc:aes128cfb"
RESTRICTED_SIGNING = TPM2B_PUBLIC.parse(
    "ecc256:ecdsa-sha256:null",
    objectAttributes="fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign",
)


@pytest.fixture
def srk(swtpm: ESAPI) -> Iterator[tuple[ESYS_TR, bytes]]:
    """A P-256 storage root key: its handle and TPMT_PUBLIC."""
    handle, public, *_ = swtpm.create_primary(TPM2B_SENSITIVE_CREATE(), STORAGE_KEY)
    yield handle, public.publicArea.marshal()
    swtpm.flush_context(handle)


def registers(esapi: ESAPI) -> dict[Bank, dict[int, bytes]]:
    """Read the enforced registers of both banks from the TPM."""
    values: dict[Bank, dict[int, bytes]] = {bank: {} for bank in BANKS}
    for bank in BANKS:
        for register in ENFORCED:
            _, _, digests = esapi.pcr_read(f"{bank}:{register}")
            values[bank][register] = bytes(digests[0])
    return values


def provided_for(esapi: ESAPI, srk_public: bytes, owner: Owner) -> Handover:
    return owner.provide(srk_public, registers(esapi))


def policy_session(esapi: ESAPI, kind: TPM2_SE) -> ESYS_TR:
    symmetric = TPMT_SYM_DEF(algorithm=TPM2_ALG.NULL)
    return esapi.start_auth_session(ESYS_TR.NONE, ESYS_TR.NONE, kind, symmetric, TPM2_ALG.SHA256)


def new_counter(esapi: ESAPI, counter: EpochCounter) -> ESYS_TR:
    """Make the epoch counter with the TPM's own commands, its public area by tss2's own structures."""
    area = TPMS_NV_PUBLIC(
        nvIndex=counter.handle,
        nameAlg=TPM2_ALG.SHA256,
        attributes=TPMA_NV.parse("nt=1|policywrite|authread|noda"),
        authPolicy=or_policy(counter.branches),
        dataSize=8,
    )
    index = esapi.nv_define_space(None, TPM2B_NV_PUBLIC(nvPublic=area))
    session = policy_session(esapi, TPM2_SE.POLICY)
    esapi.policy_nv_written(session, False)
    esapi.policy_or(session, TPML_DIGEST(list(counter.branches)))
    esapi.nv_increment(index, session1=session)
    esapi.flush_context(session)
    return index


def unseal(esapi: ESAPI, srk: ESYS_TR, given: Handover) -> bytes:
    """Do what the agent does, with the TPM's own commands: import, load, policy, unseal."""
    key = given.sealed_key
    public, _ = TPMT_PUBLIC.unmarshal(key.object_public)
    private = esapi.import_(
        srk,
        TPM2B_DATA(),
        TPM2B_PUBLIC(publicArea=public),
        TPM2B_PRIVATE(key.duplicate),
        TPM2B_ENCRYPTED_SECRET(key.encrypted_seed),
        TPMT_SYM_DEF_OBJECT(algorithm=TPM2_ALG.NULL),
    )
    loaded = esapi.load(srk, private, TPM2B_PUBLIC(publicArea=public))
    counter = new_counter(esapi, EpochCounter(policy_key=key.policy_key))
    session = policy_session(esapi, TPM2_SE.POLICY)
    (approval,) = given.approvals.approvals
    try:
        esapi.policy_pcr(session, TPM2B_DIGEST(), TPML_PCR_SELECTION.parse(SELECTION))
        esapi.policy_nv(counter, counter, session, operand(approval.epoch), TPM2_EO.UNSIGNED_LE)
        policy_public, _ = TPMT_PUBLIC.unmarshal(key.policy_key)
        policy_key = esapi.load_external(TPM2B_PUBLIC(publicArea=policy_public), hierarchy=ESYS_TR.OWNER)
        reference = key.policy_ref.encode("ascii")
        signature, _ = TPMT_SIGNATURE.unmarshal(approval.signature)
        digest = TPM2B_DIGEST(approval_digest(approval.policy, reference))
        ticket = esapi.verify_signature(policy_key, digest, signature)
        esapi.flush_context(policy_key)
        esapi.policy_authorize(
            session,
            TPM2B_DIGEST(approval.policy),
            TPM2B_NAME(name(key.policy_key)),
            ticket,
            TPM2B_NONCE(reference),
        )
        return bytes(esapi.unseal(loaded, session1=session))
    finally:
        esapi.flush_context(session)
        esapi.flush_context(loaded)


def test_a_key_sealed_offline_is_unsealed_by_the_tpm(swtpm: ESAPI, srk: tuple[ESYS_TR, bytes]) -> None:
    owner = Owner()
    handle, public = srk
    assert unseal(swtpm, handle, provided_for(swtpm, public, owner)) == owner.data_key


@pytest.mark.parametrize("register", ENFORCED)
def test_no_key_is_released_after_an_extend_of_any_enforced_register(
    swtpm: ESAPI, srk: tuple[ESYS_TR, bytes], register: int
) -> None:
    handle, public = srk
    given = provided_for(swtpm, public, Owner())
    swtpm.pcr_event(getattr(ESYS_TR, f"PCR{register}"), b"one event more")
    with pytest.raises(TSS2_Exception, match="value is out of range"):
        unseal(swtpm, handle, given)


def test_a_key_sealed_for_another_tpm_is_not_imported(swtpm: ESAPI, srk: tuple[ESYS_TR, bytes]) -> None:
    sensitive = TPM2B_SENSITIVE_CREATE()
    other, public, *_ = swtpm.create_primary(sensitive, STORAGE_KEY, ESYS_TR.NULL)
    given = provided_for(swtpm, public.publicArea.marshal(), Owner())
    swtpm.flush_context(other)
    with pytest.raises(TSS2_Exception, match="integrity"):
        unseal(swtpm, srk[0], given)


def test_policy_digests_equal_those_of_a_trial_session(swtpm: ESAPI) -> None:
    key = policy_key_public(ec.generate_private_key(ec.SECP256R1()).public_key())
    counter = EpochCounter(policy_key=key)
    index = new_counter(swtpm, counter)
    session = policy_session(swtpm, TPM2_SE.TRIAL)
    swtpm.policy_pcr(session, TPM2B_DIGEST(), TPML_PCR_SELECTION.parse(SELECTION))
    boot = pcr_policy(registers(swtpm), ENFORCED)
    assert bytes(swtpm.policy_get_digest(session)) == boot
    swtpm.policy_nv(index, index, session, operand(7), TPM2_EO.UNSIGNED_LE)
    assert bytes(swtpm.policy_get_digest(session)) == counter.at_most(7, boot)
    swtpm.policy_restart(session)
    swtpm.policy_nv(index, index, session, operand(7), TPM2_EO.UNSIGNED_LT)
    assert bytes(swtpm.policy_get_digest(session)) == counter.below(7)
    swtpm.policy_restart(session)
    swtpm.policy_nv_written(session, False)
    assert bytes(swtpm.policy_get_digest(session)) == nv_unwritten_policy()
    swtpm.policy_or(session, TPML_DIGEST(list(counter.branches)))
    assert bytes(swtpm.policy_get_digest(session)) == or_policy(counter.branches)
    swtpm.policy_restart(session)
    loaded = swtpm.load_external(TPM2B_PUBLIC(publicArea=TPMT_PUBLIC.unmarshal(key)[0]))
    assert bytes(swtpm.read_public(loaded)[1]) == name(key)
    swtpm.flush_context(loaded)
    # A trial session takes any ticket.
    ticket = TPMT_TK_VERIFIED(tag=TPM2_ST.VERIFIED, hierarchy=TPM2_RH.NULL)
    swtpm.policy_authorize(
        session, TPM2B_DIGEST(), TPM2B_NAME(name(key)), ticket, TPM2B_NONCE(b"mantlet/weights/tiny")
    )
    assert bytes(swtpm.policy_get_digest(session)) == authorize_policy(key, b"mantlet/weights/tiny")
    swtpm.flush_context(session)


@pytest.mark.parametrize(
    ("template", "protection"),
    [("EK-RSA2048", SHA256_AES128), ("EK-ECC256", SHA256_AES128), ("EK-HIGH-ECC384", SHA384_AES256)],
)
def test_a_credential_is_activated_by_the_tpm_of_the_endorsement_key(
    swtpm: ESAPI, template: str, protection: Protection
) -> None:
    ek, ek_public = endorsement_key(swtpm, template)
    ak, ak_public, *_ = swtpm.create_primary(
        TPM2B_SENSITIVE_CREATE(), RESTRICTED_SIGNING, ESYS_TR.ENDORSEMENT
    )
    secret = secrets.token_bytes(32)
    public_key = load_pem_public_key(ek_public.to_pem())
    assert isinstance(public_key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey)
    credential = make_credential(
        public_key,
        protection,
        name=name(ak_public.publicArea.marshal()),
        secret=secret,
        entropy=secrets.token_bytes,
    )
    assert activate(swtpm, (ak, ek), credential, high="HIGH" in template) == secret
    other = make_credential(
        public_key,
        protection,
        name=name(ek_public.publicArea.marshal()),
        secret=secret,
        entropy=secrets.token_bytes,
    )
    with pytest.raises(TSS2_Exception, match="integrity"):
        activate(swtpm, (ak, ek), other, high="HIGH" in template)
    swtpm.flush_context(ak)
    swtpm.flush_context(ek)


def endorsement_key(esapi: ESAPI, template: str) -> tuple[ESYS_TR, TPM2B_PUBLIC]:
    _, public = create_ek_template(template, NVReadEK(esapi))
    handle, created, *_ = esapi.create_primary(TPM2B_SENSITIVE_CREATE(), public, ESYS_TR.ENDORSEMENT)
    return handle, created


def activate(esapi: ESAPI, keys: tuple[ESYS_TR, ESYS_TR], credential: Credential, *, high: bool) -> bytes:
    """TPM2_ActivateCredential; the low templates want PolicySecret, the high ones take the password."""
    ak, ek = keys
    arguments = (
        TPM2B_ID_OBJECT(credential.credential_blob),
        TPM2B_ENCRYPTED_SECRET(credential.encrypted_secret),
    )
    if high:
        return bytes(esapi.activate_credential(ak, ek, *arguments))
    symmetric = TPMT_SYM_DEF(algorithm=TPM2_ALG.NULL)
    session = esapi.start_auth_session(ESYS_TR.NONE, ESYS_TR.NONE, TPM2_SE.POLICY, symmetric, TPM2_ALG.SHA256)
    try:
        esapi.policy_secret(ESYS_TR.ENDORSEMENT, session)
        return bytes(esapi.activate_credential(ak, ek, *arguments, session2=session))
    finally:
        esapi.flush_context(session)
