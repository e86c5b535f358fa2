# SPDX-License-Identifier: Apache-2.0
"""Quotes, certification and credential activation (docs/formats.md, *Evidence*; TPM 2.0 Library, Part 3).

Owns the attester's half of the protocol. It takes the logs as bytes and judges nothing: what it says is worth
what the TPM has signed of it.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tpm2_pytss import (
    ESYS_TR,
    TPM2_ALG,
    TPM2_SE,
    TPM2B_ENCRYPTED_SECRET,
    TPM2B_ID_OBJECT,
    TPMS_ATTEST,
    TPMT_SIG_SCHEME,
    TPMT_SYM_DEF,
    TSS2_Exception,
)

from mantlet_agent.stages import Code, StageError
from mantlet_agent.tpm import EK_CERTIFICATE_INDEX, REGISTERS, Tpm, commands, selection, structure
from mantlet_measure import dsse
from mantlet_measure.cel import AgentRecord
from mantlet_measure.evidence import (
    EVIDENCE_LABEL,
    SRK_LABEL,
    Evidence,
    Quote,
    State,
    StorageKey,
    qualifying_data,
)
from mantlet_measure.pcr import BANKS

_ATTEMPTS = 5
_NV_CHUNK = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What the machine says of itself besides what its TPM says."""

    state: State
    manifest_sha256: bytes
    tls_spki_sha256: bytes
    firmware_log: bytes
    system_log: bytes
    agent_log: tuple[AgentRecord, ...]
    deployment: dsse.Envelope


class MovedError(Exception):
    """The registers moved under every quote that was tried."""


class CredentialError(Exception):
    """The TPM did not open the credential: it was made for another EK or another AK, or is damaged."""


class Attester:
    """The keys of one TPM that answer for it."""

    def __init__(self, tpm: Tpm) -> None:
        """Make the keys and read the EK certificate once, ahead of the first question."""
        self._tpm = tpm
        self._ak, self._ak_public = tpm.attestation()
        self._srk, self._srk_public = tpm.storage_root()
        self._ek_certificate = _ek_certificate(tpm)

    def evidence(self, nonce: bytes, situation: Callable[[], Situation]) -> Evidence:
        """Quote over `nonce` and return the evidence. MovedError when the registers never stood still.

        The situation is read after the quote, so that its logs cover at least what was quoted; if the
        registers have moved by then, the quote is made anew.
        """
        for _ in range(_ATTEMPTS):
            before = situation()
            quote, quoted = self._quote(_binding(EVIDENCE_LABEL, nonce, before))
            srk = self._certify(_binding(SRK_LABEL, nonce, before))
            pcrs = self._tpm.read()
            after = situation()
            # TPM 2.0 Library, Part 2, TPMS_QUOTE_INFO: the digest of the selected values, concatenated.
            values = b"".join(pcrs[bank][register] for bank in BANKS for register in REGISTERS)
            if hashlib.sha256(values).digest() != quoted or before != after:
                continue
            return Evidence(
                nonce=nonce,
                state=after.state,
                manifest_sha256=after.manifest_sha256,
                tls_spki_sha256=after.tls_spki_sha256,
                ek_certificate=self._ek_certificate,
                ak_public=self._ak_public.marshal(),
                quote=quote,
                srk=srk,
                pcrs=pcrs,
                firmware_log=after.firmware_log,
                system_log=after.system_log,
                agent_log=after.agent_log,
                deployment=after.deployment,
            )
        raise MovedError

    def activate(self, credential_blob: bytes, encrypted_secret: bytes) -> bytes:
        """Return the secret of a credential made for this EK and this AK. CredentialError."""
        ek, _ = self._tpm.endorsement()
        try:
            identity = structure(TPM2B_ID_OBJECT, credential=credential_blob)
            encrypted = structure(TPM2B_ENCRYPTED_SECRET, secret=encrypted_secret)
        except ValueError as error:
            raise CredentialError(str(error)) from error
        with commands():
            session = self._tpm.esapi.start_auth_session(
                ESYS_TR.NONE,
                ESYS_TR.NONE,
                TPM2_SE.POLICY,
                TPMT_SYM_DEF(algorithm=TPM2_ALG.NULL),
                TPM2_ALG.SHA256,
            )
        try:
            with commands():
                self._tpm.esapi.policy_secret(ESYS_TR.ENDORSEMENT, session)
            return bytes(
                self._tpm.esapi.activate_credential(self._ak, ek, identity, encrypted, session2=session)
            )
        except TSS2_Exception as error:
            raise CredentialError(str(error)) from error
        finally:
            self._tpm.esapi.flush_context(session)

    def _quote(self, qualifying: bytes) -> tuple[Quote, bytes]:
        with commands():
            attest, signature = self._tpm.esapi.quote(
                self._ak, selection(REGISTERS), qualifying, TPMT_SIG_SCHEME(scheme=TPM2_ALG.NULL)
            )
        said, _ = TPMS_ATTEST.unmarshal(bytes(attest))
        return _signed(attest, signature), bytes(said.attested.quote.pcrDigest)

    def _certify(self, qualifying: bytes) -> StorageKey:
        with commands():
            attest, signature = self._tpm.esapi.certify(
                self._srk, self._ak, qualifying, TPMT_SIG_SCHEME(scheme=TPM2_ALG.NULL)
            )
        signed = _signed(attest, signature)
        return StorageKey(public=self._srk_public.marshal(), attest=signed.attest, signature=signed.signature)


def _binding(label: str, nonce: bytes, situation: Situation) -> bytes:
    return qualifying_data(
        label,
        nonce=nonce,
        spki_sha256=situation.tls_spki_sha256,
        manifest_sha256=situation.manifest_sha256,
    )


def _signed(attest: Any, signature: Any) -> Quote:
    return Quote(attest=bytes(attest), signature=signature.marshal())


def _ek_certificate(tpm: Tpm) -> bytes:
    """Read the EK certificate from NV, without the padding that some manufacturers leave behind it."""
    esapi = tpm.esapi
    try:
        index = esapi.tr_from_tpmpublic(EK_CERTIFICATE_INDEX)
        size = int(esapi.nv_read_public(index)[0].nvPublic.dataSize)
        content = b"".join(
            bytes(esapi.nv_read(index, min(_NV_CHUNK, size - offset), offset))
            for offset in range(0, size, _NV_CHUNK)
        )
    except TSS2_Exception as error:
        raise StageError(Code.TPM_ERROR, f"EK certificate: {error}") from error
    # X.690: a certificate of this size is a SEQUENCE with a length of two octets.
    if content[:2] == b"\x30\x82":
        return content[: 4 + int.from_bytes(content[2:4], "big")]
    return content
