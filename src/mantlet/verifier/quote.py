# SPDX-License-Identifier: Apache-2.0
"""From what a TPM signed to what may be believed: quote, qualifying data, and the certification of the SRK.

Follows TPM 2.0 Library, Part 3, 18.2 (TPM2_Certify) and 18.4 (TPM2_Quote), and docs/formats.md, *Evidence*.
An `AuthenticQuote` says which values the registers had; it does not say why, nor whether they are the right
ones.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from mantlet.verifier import tpm
from mantlet.verifier.credential import BoundKey
from mantlet.verifier.keys import AttestationKey, check_storage_key
from mantlet.verifier.steps import Checks
from mantlet_measure.evidence import (
    EVIDENCE_LABEL,
    PCR_SELECTION,
    SRK_LABEL,
    Evidence,
    StorageKey,
    qualifying_data,
)
from mantlet_measure.pcr import BANKS, Bank
from mantlet_measure.tpm_structs import name

_BANKS = {bank.tpm_alg: bank.value for bank in BANKS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What the verifier knows by itself: the nonce it sent, and the TLS key of the connection the answer came
    over."""

    nonce: bytes
    tls_spki_sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthenticQuote:
    """The values of registers 0 to 15 of both banks, signed by a bound attestation key."""

    attest: tpm.QuoteAttest
    registers: Mapping[Bank, Mapping[int, bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifiedStorageKey:
    """A storage root key (TPMT_PUBLIC) that lives in the TPM of the attestation key."""

    public: bytes
    name: bytes


def authenticate(evidence: Evidence, key: BoundKey) -> AuthenticQuote:
    """Check signature, selection and digest of the quote. RefusedError with all findings, or DecodeError."""
    return AuthenticQuote(attest=check_signed(evidence, key.attestation_key), registers=evidence.pcrs)


def check_signed(evidence: Evidence, key: AttestationKey) -> tpm.QuoteAttest:
    """Check the quote against a key that need not be in any TPM, and return what was signed.

    RefusedError with all findings, or DecodeError.
    """
    attest = tpm.decode_quote(evidence.quote.attest)
    checks = Checks()
    _check_signature("quote", evidence.quote.attest, evidence.quote.signature, key, checks)
    wanted = tuple(
        tpm.Selection(algorithm=bank.tpm_alg, registers=chosen) for bank, chosen in PCR_SELECTION.items()
    )
    if attest.selections != wanted:
        expected, observed = _selection_text(wanted), _selection_text(attest.selections)
        checks.fault("PCR selection", expected=expected, observed=observed)
    # Part 3, 18.4: pcrDigest is over the values in selection order, by the hash of the signing scheme.
    values = b"".join(
        evidence.pcrs[bank][register] for bank, chosen in PCR_SELECTION.items() for register in chosen
    )
    checks.equal("PCR digest", expected=hashlib.sha256(values).digest(), observed=attest.pcr_digest)
    checks.done(hint="ask the machine again; if it repeats, its evidence is not what its TPM signed")
    return attest


def check_freshness(
    quote: AuthenticQuote, evidence: Evidence, *, session: Session, manifest_sha256: bytes
) -> None:
    """Check that the quote was made for this nonce, TLS key and manifest. RefusedError with all findings."""
    checks = Checks()
    checks.equal("TLS key (SPKI)", expected=session.tls_spki_sha256, observed=evidence.tls_spki_sha256)
    checks.equal("manifest", expected=manifest_sha256, observed=evidence.manifest_sha256)
    expected = qualifying_data(
        EVIDENCE_LABEL,
        nonce=session.nonce,
        spki_sha256=session.tls_spki_sha256,
        manifest_sha256=manifest_sha256,
    )
    checks.equal("qualifying data of the quote", expected=expected, observed=quote.attest.extra_data)
    checks.done(
        hint="the evidence is old, was made for another connection (somebody stands between), or names "
        "another manifest: connect to the machine itself, with the manifest of its release"
    )


def certify_storage_key(
    storage_key: StorageKey,
    key: BoundKey,
    quote: AuthenticQuote,
    *,
    session: Session,
    manifest_sha256: bytes,
) -> CertifiedStorageKey:
    """Check that the SRK was certified by the same key, in the same boot, for the same session."""
    attest = tpm.decode_certify(storage_key.attest)
    checks = Checks()
    _check_signature("certification", storage_key.attest, storage_key.signature, key.attestation_key, checks)
    expected = qualifying_data(
        SRK_LABEL,
        nonce=session.nonce,
        spki_sha256=session.tls_spki_sha256,
        manifest_sha256=manifest_sha256,
    )
    checks.equal("qualifying data of the certification", expected=expected, observed=attest.extra_data)
    storage_key_name = name(storage_key.public)
    checks.equal("certified name", expected=storage_key_name, observed=attest.name)
    check_storage_key(storage_key.public, checks)
    # Part 1, *Clock*: both counts change with every boot, so equal counts are one boot.
    checks.equal("reset count", expected=quote.attest.clock.reset_count, observed=attest.clock.reset_count)
    checks.equal(
        "restart count", expected=quote.attest.clock.restart_count, observed=attest.clock.restart_count
    )
    checks.done(hint="do not seal to this key: it is not certified as the storage root key of this TPM")
    return CertifiedStorageKey(public=storage_key.public, name=storage_key_name)


def _check_signature(what: str, attest: bytes, signature: bytes, key: AttestationKey, checks: Checks) -> None:
    try:
        key.public_key.verify(tpm.decode_signature(signature), attest, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        checks.fault(
            f"signature of the {what}",
            expected=f"one by attestation key {key.name.hex()}",
            observed="one that does not match",
        )


def _selection_text(selections: tuple[tpm.Selection, ...]) -> str:
    return ", ".join(
        f"{_BANKS.get(item.algorithm, hex(item.algorithm))}:{'+'.join(map(str, item.registers)) or 'none'}"
        for item in selections
    )
