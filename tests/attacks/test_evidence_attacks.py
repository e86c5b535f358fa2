# SPDX-License-Identifier: Apache-2.0
"""Attacks on evidence, one a test: each is refused, at the step that is there for it.

The logs have attacks of their own in test_evidence_log_attacks.py.
"""

import dataclasses
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID

from mantlet.verifier.policy import SoftwareTpm
from mantlet.verifier.steps import Step
from mantlet_measure import dsse
from mantlet_measure.deployment import PAYLOAD_TYPE
from mantlet_measure.deployment import encode as encode_deployment
from mantlet_measure.errors import MantletError
from mantlet_measure.evidence import Evidence, State
from mantlet_measure.pcr import BANKS, Bank, measured
from mantlet_measure.tpm_structs import Attribute
from tests.authority import FIRST, LAST, Authority
from tests.boot_events import manifest_of
from tests.machine import Machine, fresh_nonce
from tests.relying_party import POLICY, RelyingParty, refused


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def machine(authority: Authority) -> Machine:
    return Machine(authority=authority)


def attacked(machine: Machine, party: RelyingParty, **changes: Any) -> Evidence:
    """Evidence as the machine gives it, with some members replaced on the way."""
    return dataclasses.replace(party.ask(machine), **changes)


def test_replayed_evidence_with_an_old_nonce_is_refused(machine: Machine) -> None:
    party = RelyingParty.of(machine)
    old = machine.evidence(fresh_nonce(), party.session.tls_spki_sha256)
    with refused(Step.EVIDENCE, because="nonce"):
        party.verify(old, machine.activate)


def test_an_old_quote_under_the_new_nonce_is_refused(machine: Machine) -> None:
    party = RelyingParty.of(machine)
    old = machine.evidence(fresh_nonce(), party.session.tls_spki_sha256)
    with refused(Step.FRESHNESS, because="qualifying data of the quote"):
        party.verify(dataclasses.replace(old, nonce=party.session.nonce), machine.activate)


def test_evidence_relayed_over_another_tls_key_is_refused(machine: Machine) -> None:
    party = RelyingParty.of(machine)
    theirs = machine.evidence(party.session.nonce, bytes(32))
    with refused(Step.FRESHNESS, because="TLS key (SPKI)"):
        party.verify(theirs, machine.activate)


def test_a_quote_for_another_tls_key_under_ours_is_refused(machine: Machine) -> None:
    party = RelyingParty.of(machine)
    theirs = machine.evidence(party.session.nonce, bytes(32))
    relabelled = dataclasses.replace(theirs, tls_spki_sha256=party.session.tls_spki_sha256)
    with refused(Step.FRESHNESS, because="qualifying data of the quote"):
        party.verify(relabelled, machine.activate)


def test_a_quote_signed_by_a_foreign_key_is_refused(machine: Machine, authority: Authority) -> None:
    party = RelyingParty.of(machine)
    foreign = party.ask(Machine(authority=authority, deployment_key=machine.deployment_key))
    with refused(Step.QUOTE, because="signature of the quote"):
        party.verify(attacked(machine, party, quote=foreign.quote), machine.activate)


def test_a_foreign_attestation_key_that_signs_everything_is_refused(
    machine: Machine, authority: Authority
) -> None:
    party = RelyingParty.of(machine)
    forger = Machine(authority=authority, deployment_key=machine.deployment_key)
    # The forger shows the certificate of a genuine TPM, which will not activate a credential for his key.
    with refused(Step.BINDING, because="TPM_RC_INTEGRITY"):
        party.verify(party.ask(forger), machine.activate)


def test_the_credential_of_another_tpm_is_not_activated(machine: Machine, authority: Authority) -> None:
    party = RelyingParty.of(machine)
    other = Machine(authority=authority, ek_number=1, ak=machine.ak)
    with refused(Step.BINDING, because="the seed is for another key"):
        party.verify(party.ask(machine), other.activate)


def test_a_guessed_secret_is_refused(machine: Machine) -> None:
    party = RelyingParty.of(machine)
    with refused(Step.BINDING, because="the one that was sent"):
        party.verify(party.ask(machine), lambda _credential: bytes(32))


@pytest.mark.parametrize(
    "missing",
    [
        Attribute.RESTRICTED,
        Attribute.FIXED_TPM,
        Attribute.FIXED_PARENT,
        Attribute.SENSITIVE_DATA_ORIGIN,
        Attribute.SIGN_ENCRYPT,
    ],
)
def test_an_attestation_key_without_an_attribute_is_refused(machine: Machine, missing: Attribute) -> None:
    machine.ak_attributes &= ~missing
    party = RelyingParty.of(machine)
    with refused(Step.ATTESTATION_KEY, because=f"attribute {missing.name}"):
        party.verify(party.ask(machine), machine.activate)


def test_an_attestation_key_that_also_decrypts_is_refused(machine: Machine) -> None:
    machine.ak_attributes |= Attribute.DECRYPT
    party = RelyingParty.of(machine)
    with refused(Step.ATTESTATION_KEY, because="attribute DECRYPT: expected clear"):
        party.verify(party.ask(machine), machine.activate)


def test_the_certificate_of_another_manufacturer_is_refused(machine: Machine) -> None:
    party = RelyingParty.of(machine)
    impostor = Machine(authority=Authority(), deployment_key=machine.deployment_key)
    with refused(Step.ENDORSEMENT, because="issuer"):
        party.verify(party.ask(impostor), impostor.activate)


def test_a_certificate_chain_without_its_root_is_refused(machine: Machine) -> None:
    trust = dataclasses.replace(
        RelyingParty.of(machine).trust, ek_certificates=(machine.authority.intermediate,)
    )
    party = dataclasses.replace(RelyingParty.of(machine), trust=trust)
    with refused(Step.ENDORSEMENT, because="issuer"):
        party.verify(party.ask(machine), machine.activate)


@pytest.mark.parametrize(
    ("knobs", "because"),
    [
        ({"ek_last": FIRST.replace(year=2026)}, "validity of EK certificate"),
        ({"intermediate_last": FIRST.replace(year=2026)}, "validity of CN=Example TPM"),
        ({"intermediate_is_authority": False}, "basicConstraints CA"),
        ({"intermediate_may_sign": False}, "keyCertSign"),
        ({"root_path_length": 0}, "at most 0 authorities below"),
        ({"ek_is_authority": True}, "no authority"),
        ({"extra_critical": True}, "1.2.3.4"),
        ({"digest": hashes.SHA224()}, "issuer"),
        ({"usage": ExtendedKeyUsageOID.SERVER_AUTH}, "tcg-kp-EKCertificate"),
    ],
)
def test_an_endorsement_that_breaks_a_rule_of_certificates_is_refused(
    knobs: dict[str, Any], because: str
) -> None:
    machine = Machine(authority=Authority(**knobs))
    party = RelyingParty.of(machine)
    with refused(Step.ENDORSEMENT, because=because):
        party.verify(party.ask(machine), machine.activate)


def test_an_endorsement_from_the_future_is_refused(machine: Machine) -> None:
    party = RelyingParty.of(machine, now=FIRST.replace(year=2024))
    with refused(Step.ENDORSEMENT, because="validity"):
        party.verify(party.ask(machine), machine.activate)


def test_an_expired_endorsement_is_refused(machine: Machine) -> None:
    party = RelyingParty.of(machine, now=LAST.replace(year=2036))
    with refused(Step.ENDORSEMENT, because="validity of EK certificate"):
        party.verify(party.ask(machine), machine.activate)


def test_a_software_tpm_is_refused_by_a_policy_for_hardware(machine: Machine) -> None:
    hardware = dataclasses.replace(POLICY, software_tpm=SoftwareTpm.REFUSE)
    party = RelyingParty.of(machine)
    party = dataclasses.replace(party, trust=dataclasses.replace(party.trust, policy=hardware))
    with refused(Step.ENDORSEMENT, because="TPM model: expected a hardware TPM, observed swtpm"):
        party.verify(party.ask(machine), machine.activate)


def test_bytes_that_are_no_certificate_are_refused(machine: Machine) -> None:
    party = RelyingParty.of(machine)
    with refused(Step.ENDORSEMENT, because="EK certificate"):
        party.verify(attacked(machine, party, ek_certificate=b"\x30\x00"), machine.activate)


def test_a_swapped_storage_root_key_is_refused(machine: Machine, authority: Authority) -> None:
    party = RelyingParty.of(machine)
    genuine = party.ask(machine)
    foreign = party.ask(Machine(authority=authority)).srk.public
    swapped = dataclasses.replace(genuine, srk=dataclasses.replace(genuine.srk, public=foreign))
    with refused(Step.STORAGE_KEY, because="certified name"):
        party.verify(swapped, machine.activate)


def test_a_storage_root_key_certified_by_another_tpm_is_refused(
    machine: Machine, authority: Authority
) -> None:
    party = RelyingParty.of(machine)
    foreign = party.ask(Machine(authority=authority, manifest=machine.manifest)).srk
    with refused(Step.STORAGE_KEY, because="signature of the certification"):
        party.verify(attacked(machine, party, srk=foreign), machine.activate)


def test_a_storage_root_key_certified_in_another_boot_is_refused(machine: Machine) -> None:
    machine.certify_reset_count = 6
    party = RelyingParty.of(machine)
    with refused(Step.STORAGE_KEY, because="reset count"):
        party.verify(party.ask(machine), machine.activate)


@pytest.mark.parametrize("missing", [Attribute.RESTRICTED, Attribute.FIXED_TPM, Attribute.DECRYPT])
def test_a_storage_root_key_without_an_attribute_is_refused(machine: Machine, missing: Attribute) -> None:
    machine.srk_attributes &= ~missing
    party = RelyingParty.of(machine)
    with refused(Step.STORAGE_KEY, because=f"attribute {missing.name}"):
        party.verify(party.ask(machine), machine.activate)


def test_a_quote_passed_off_as_the_certification_is_refused(machine: Machine) -> None:
    party = RelyingParty.of(machine)
    genuine = party.ask(machine)
    srk = dataclasses.replace(genuine.srk, attest=genuine.quote.attest, signature=genuine.quote.signature)
    with refused(Step.STORAGE_KEY, because="0x8018"):
        party.verify(dataclasses.replace(genuine, srk=srk), machine.activate)


def test_a_quote_over_fewer_registers_is_refused(machine: Machine) -> None:
    machine.selection = {bank: tuple(range(15)) for bank in BANKS}
    party = RelyingParty.of(machine)
    with refused(Step.QUOTE, because="PCR selection"):
        party.verify(party.ask(machine), machine.activate)


def test_a_quote_of_one_bank_is_refused(machine: Machine) -> None:
    machine.selection = {Bank.SHA256: tuple(range(16))}
    party = RelyingParty.of(machine)
    with refused(Step.QUOTE, because="PCR selection"):
        party.verify(party.ask(machine), machine.activate)


def test_a_structure_that_no_tpm_made_is_refused(machine: Machine) -> None:
    machine.magic = 0xFF544348
    party = RelyingParty.of(machine)
    with refused(Step.QUOTE, because="TPM_GENERATED_VALUE"):
        party.verify(party.ask(machine), machine.activate)


@pytest.mark.parametrize("bank", BANKS)
def test_a_register_that_is_off_by_one_bit_is_refused(machine: Machine, bank: Bank) -> None:
    party = RelyingParty.of(machine)
    genuine = party.ask(machine)
    value = genuine.pcrs[bank][4]
    flipped = bytes([value[0] ^ 1]) + value[1:]
    pcrs = {**genuine.pcrs, bank: {**genuine.pcrs[bank], 4: flipped}}
    with refused(Step.QUOTE, because="PCR digest"):
        party.verify(dataclasses.replace(genuine, pcrs=pcrs), machine.activate)


def test_evidence_for_another_manifest_is_refused(machine: Machine) -> None:
    other = manifest_of((*machine.firmware, *machine.system, measured(4, b"x", type="x", description="")))
    party = dataclasses.replace(RelyingParty.of(machine), manifest=other)
    with refused(Step.FRESHNESS, because="manifest"):
        party.verify(party.ask(machine), machine.activate)


def test_a_deployment_signed_by_another_key_is_refused(machine: Machine) -> None:
    party = RelyingParty.of(machine)
    payload = encode_deployment(machine.deployment)
    machine.envelope = dsse.sign(PAYLOAD_TYPE, payload, [Ed25519PrivateKey.generate()])
    with refused(Step.DEPLOYMENT, because="trusted keys"):
        party.verify(party.ask(machine), machine.activate)


def test_another_deployment_than_the_measured_one_is_refused(machine: Machine) -> None:
    party = RelyingParty.of(machine)
    other = encode_deployment(dataclasses.replace(machine.deployment, id="other"))
    envelope = dsse.sign(PAYLOAD_TYPE, other, [machine.deployment_key])
    with refused(Step.DEPLOYMENT, because="agent word 1"):
        party.verify(attacked(machine, party, deployment=envelope), machine.activate)


@pytest.mark.parametrize(
    ("change", "because"),
    [
        ({"manifest_sha256": bytes(32)}, "manifest of the deployment"),
        ({"image_version": "1.2.4"}, "image of the deployment"),
        ({"image_id": "other"}, "image of the deployment"),
    ],
)
def test_a_deployment_for_another_release_is_refused(
    machine: Machine, change: dict[str, Any], because: str
) -> None:
    party = RelyingParty.of(machine)
    document = dataclasses.replace(machine.deployment, **change)
    machine.envelope = dsse.sign(PAYLOAD_TYPE, encode_deployment(document), [machine.deployment_key])
    with refused(Step.DEPLOYMENT, because=because):
        party.verify(party.ask(machine), machine.activate)


def test_an_uncapped_machine_that_claims_to_serve_is_refused(machine: Machine) -> None:
    machine.capped = False
    party = RelyingParty.of(machine)
    with refused(Step.DEPLOYMENT, because="agent word 4: expected cap: mantlet:cap, observed none"):
        party.verify(party.ask(machine), machine.activate)


def test_a_capped_machine_that_claims_to_await_its_key_is_refused(machine: Machine) -> None:
    machine.state = State.AWAITING_KEY
    party = RelyingParty.of(machine, state=State.AWAITING_KEY)
    with refused(Step.DEPLOYMENT, because="agent word 4: expected none"):
        party.verify(party.ask(machine), machine.activate)


def test_a_machine_that_awaits_its_key_is_refused_when_a_serving_one_is_wanted(machine: Machine) -> None:
    machine.state, machine.capped = State.AWAITING_KEY, False
    party = RelyingParty.of(machine)
    with refused(Step.STATE, because="state: expected serving, observed awaiting-key"):
        party.verify(party.ask(machine), machine.activate)


def test_a_manifest_that_pins_less_than_the_policy_wants_is_refused(authority: Authority) -> None:
    machine = Machine(authority=authority)
    events = (*machine.firmware, *machine.system)
    weak = Machine(authority=authority, manifest=manifest_of(events, enforced=(4, 7, 11, 12, 13, 14, 15)))
    party = RelyingParty.of(weak)
    with refused(Step.REFERENCE_VALUES, because="no reference value for 9"):
        party.verify(party.ask(weak), weak.activate)


def test_a_platform_that_the_manifest_does_not_have_is_refused(machine: Machine) -> None:
    party = RelyingParty.of(machine)
    party = dataclasses.replace(party, trust=dataclasses.replace(party.trust, platform="ec2"))
    with refused(Step.REFERENCE_VALUES, because="platform"):
        party.verify(party.ask(machine), machine.activate)


@pytest.mark.parametrize("empty", ["ek_certificates", "deployment_keys"])
def test_trust_in_nobody_is_refused_before_anything_is_asked(machine: Machine, empty: str) -> None:
    trust = RelyingParty.of(machine).trust
    nobody: dict[str, Any] = {empty: ()}
    with pytest.raises(MantletError, match="expected at least one"):
        dataclasses.replace(trust, **nobody)
