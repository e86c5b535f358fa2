# SPDX-License-Identifier: Apache-2.0
"""Evidence: what a machine says of itself, signed by its TPM (docs/formats.md, *Evidence*; RFC 9334).

Owns the document and the qualifying data that ties a quote to a nonce, a TLS key and a manifest. It checks no
signature and believes nothing: `mantlet.verifier` appraises.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from mantlet_measure import dsse, strictjson
from mantlet_measure.cel import AgentRecord, decode_agent_log, encode_agent_log
from mantlet_measure.pcr import BANKS, Bank, Register
from mantlet_measure.strictjson import Fields, base64_text

FORMAT = "mantlet-evidence/v1"
EVIDENCE_LABEL = "mantlet/evidence/v1"
SRK_LABEL = "mantlet/srk/v1"
NONCE_SIZE = 32
PCR_SELECTION: Mapping[Bank, tuple[int, ...]] = {
    bank: tuple(int(register) for register in Register) for bank in BANKS
}
LIMIT = 4 << 20
_LOG = 1 << 20
_STRUCTURE = 1024
_CERTIFICATE = 8192


class State(StrEnum):
    """Where the machine stands."""

    AWAITING_KEY = "awaiting-key"
    SERVING = "serving"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """TPMS_ATTEST of TPM2_Quote and its TPMT_SIGNATURE."""

    attest: bytes
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageKey:
    """The SRK's TPMT_PUBLIC, and the attestation key's certification of it (TPM2_Certify)."""

    public: bytes
    attest: bytes
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything a machine answers to one nonce, nothing of it checked yet."""

    nonce: bytes
    state: State
    manifest_sha256: bytes
    tls_spki_sha256: bytes
    ek_certificate: bytes
    ak_public: bytes
    quote: Quote
    srk: StorageKey
    pcrs: Mapping[Bank, Mapping[int, bytes]]
    firmware_log: bytes
    system_log: bytes
    agent_log: tuple[AgentRecord, ...]
    deployment: dsse.Envelope


def qualifying_data(label: str, *, nonce: bytes, spki_sha256: bytes, manifest_sha256: bytes) -> bytes:
    """Return the 32 bytes that the TPM signs along: SHA-256 of the length-prefixed label and digests."""
    parts = (label.encode("ascii"), nonce, spki_sha256, manifest_sha256)
    return hashlib.sha256(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).digest()


def decode(data: bytes) -> Evidence:
    """Decode evidence of at most 4 MiB. DecodeError on anything else; the logs inside stay bytes."""
    what = "evidence"
    fields = Fields(strictjson.decode(data, what=what, limit=LIMIT), what)
    fields.constant("format", FORMAT)
    quote = fields.fields("quote")
    srk = fields.fields("srk")
    evidence = Evidence(
        nonce=fields.hex("nonce", NONCE_SIZE),
        state=State(fields.text("state", pattern="|".join(State))),
        manifest_sha256=fields.hex("manifest_sha256", 32),
        tls_spki_sha256=fields.hex("tls_spki_sha256", 32),
        ek_certificate=fields.base64("ek_certificate", _CERTIFICATE),
        ak_public=fields.base64("ak_public", _STRUCTURE),
        quote=Quote(
            attest=quote.base64("attest", _STRUCTURE), signature=quote.base64("signature", _STRUCTURE)
        ),
        srk=StorageKey(
            public=srk.base64("public", _STRUCTURE),
            attest=srk.base64("attest", _STRUCTURE),
            signature=srk.base64("signature", _STRUCTURE),
        ),
        pcrs=_pcrs(fields.fields("pcrs")),
        firmware_log=fields.base64("firmware_log", _LOG),
        system_log=fields.base64("system_log", _LOG),
        agent_log=decode_agent_log(fields.value("agent_log")),
        deployment=dsse.from_value(fields.value("deployment"), what=f"{what}: deployment"),
    )
    for part in (quote, srk, fields):
        part.done()
    return evidence


def _pcrs(banks: Fields) -> Mapping[Bank, Mapping[int, bytes]]:
    values: dict[Bank, Mapping[int, bytes]] = {}
    for bank, registers in PCR_SELECTION.items():
        fields = banks.fields(bank.value)
        values[bank] = {register: fields.hex(str(register), bank.size) for register in registers}
        fields.done()
    banks.done()
    return values


def encode(evidence: Evidence) -> bytes:
    """Encode evidence as canonical JSON."""
    return strictjson.encode(
        {
            "format": FORMAT,
            "nonce": evidence.nonce.hex(),
            "state": evidence.state.value,
            "manifest_sha256": evidence.manifest_sha256.hex(),
            "tls_spki_sha256": evidence.tls_spki_sha256.hex(),
            "ek_certificate": base64_text(evidence.ek_certificate),
            "ak_public": base64_text(evidence.ak_public),
            "quote": {
                "attest": base64_text(evidence.quote.attest),
                "signature": base64_text(evidence.quote.signature),
            },
            "srk": {
                "public": base64_text(evidence.srk.public),
                "attest": base64_text(evidence.srk.attest),
                "signature": base64_text(evidence.srk.signature),
            },
            "pcrs": {
                bank.value: {str(register): value.hex() for register, value in registers.items()}
                for bank, registers in evidence.pcrs.items()
            },
            "firmware_log": base64_text(evidence.firmware_log),
            "system_log": base64_text(evidence.system_log),
            "agent_log": encode_agent_log(evidence.agent_log),
            "deployment": dsse.to_value(evidence.deployment),
        }
    )
