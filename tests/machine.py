# SPDX-License-Identifier: Apache-2.0
"""A simulated machine: real PCR algebra, real signatures, and knobs to tamper with.

It does what firmware, stub, systemd, agent and TPM do together, as far as evidence shows it: measures events,
keeps registers, writes logs, holds EK, AK and SRK, quotes, certifies and activates credentials. It boots
nothing. Tests turn its knobs, or alter the evidence it gives.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from functools import cache

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from mantlet.tpm.protected_storage import kdfa, sized
from mantlet.verifier.credential import Credential
from mantlet.weights.approve import policy_key_public
from mantlet_measure import dsse
from mantlet_measure.cel import AgentRecord, agent_record
from mantlet_measure.deployment import PAYLOAD_TYPE, Deployment, Model
from mantlet_measure.deployment import encode as encode_deployment
from mantlet_measure.errors import MantletError
from mantlet_measure.evidence import (
    EVIDENCE_LABEL,
    PCR_SELECTION,
    SRK_LABEL,
    Evidence,
    Quote,
    State,
    StorageKey,
    qualifying_data,
)
from mantlet_measure.pcr import BANKS, Bank, Event, measured, replay_events
from mantlet_measure.tpm_structs import (
    Algorithm,
    Attribute,
    Curve,
    EccParameters,
    Public,
    Scheme,
    Symmetric,
    encode_public,
    name,
)
from mantlet_measure.words import FUSE_EVENT, FuseKind, agent_words
from tests.authority import Authority
from tests.boot_events import (
    encode_firmware_log,
    encode_system_log,
    firmware_events,
    manifest_of,
    system_events,
)

RUNTIME = b"the runtime declaration"
RUNTIME_SHA256 = hashlib.sha256(RUNTIME).digest()
ATTESTATION = (
    Attribute.FIXED_TPM
    | Attribute.FIXED_PARENT
    | Attribute.SENSITIVE_DATA_ORIGIN
    | Attribute.USER_WITH_AUTH
    | Attribute.RESTRICTED
)


@cache
def endorsement_key(number: int) -> rsa.RSAPrivateKey:
    """One of several endorsement keys; RSA keys are slow to make."""
    del number
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _be(value: int, size: int) -> bytes:
    return value.to_bytes(size, "big")


def _public(key: ec.EllipticCurvePrivateKey, attributes: Attribute, *, storage: bool) -> bytes:
    numbers = key.public_key().public_numbers()
    signing = Scheme(algorithm=Algorithm.ECDSA, hash_alg=Algorithm.SHA256)
    return encode_public(
        Public(
            name_alg=Algorithm.SHA256,
            attributes=attributes,
            auth_policy=b"",
            parameters=EccParameters(
                symmetric=Symmetric(key_bits=128) if storage else Symmetric(),
                scheme=Scheme() if storage else signing,
                curve=Curve.NIST_P256,
                kdf=Scheme(),
                x=numbers.x.to_bytes(32, "big"),
                y=numbers.y.to_bytes(32, "big"),
            ),
        )
    )


@dataclass(kw_only=True)
class Machine:
    """The knobs: what it measured, what it says, which keys it has and how it signs."""

    authority: Authority
    ek_number: int = 0
    ek_certificate: bytes = b""
    firmware: tuple[Event, ...] = field(default_factory=firmware_events)
    system: tuple[Event, ...] = field(default_factory=system_events)
    manifest: bytes = b""
    policy_key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    deployment_key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    envelope: dsse.Envelope | None = None
    state: State = State.SERVING
    capped: bool = True
    burnt: FuseKind | None = None
    ak: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    srk: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    ak_attributes: Attribute = ATTESTATION | Attribute.SIGN_ENCRYPT
    srk_attributes: Attribute = ATTESTATION | Attribute.DECRYPT
    selection: dict[Bank, tuple[int, ...]] = field(default_factory=lambda: dict(PCR_SELECTION))
    magic: int = 0xFF544347
    certify_reset_count: int = 7

    def __post_init__(self) -> None:
        """Have the EK certified and the release's documents made, unless a test brings its own."""
        ek = endorsement_key(self.ek_number)
        self.ek_certificate = self.ek_certificate or self.authority.certify(ek.public_key())
        self.manifest = self.manifest or manifest_of((*self.firmware, *self.system))
        self.envelope = self.envelope or dsse.sign(
            PAYLOAD_TYPE, encode_deployment(self.deployment), [self.deployment_key]
        )

    @property
    def deployment(self) -> Deployment:
        """The deployment document for the manifest."""
        return Deployment(
            id="demo",
            image_id="mantlet",
            image_version="1.2.3",
            manifest_sha256=hashlib.sha256(self.manifest).digest(),
            model=Model(
                id="tiny",
                version="1",
                epoch=1,
                file="model.gguf",
                root_hash=hashlib.sha256(b"root").digest(),
                salt=hashlib.sha256(b"mantlet/v1/salttiny").digest(),
                data_blocks=2,
                hash_offset=8192,
                size=12288,
            ),
            policy_key=name(policy_key_public(self.policy_key.public_key())),
            runtime="llama-server",
        )

    @property
    def agent_log(self) -> tuple[AgentRecord, ...]:
        """What the agent extended into register 15."""
        assert self.envelope is not None
        words = agent_words(
            deployment_sha256=hashlib.sha256(self.envelope.payload).digest(),
            runtime_sha256=RUNTIME_SHA256,
            root_hash=self.deployment.model.root_hash,
            capped=self.capped,
        )
        if self.burnt is not None:
            words = (*words, (FUSE_EVENT, self.burnt.word))
        return tuple(agent_record(number, event, word) for number, (event, word) in enumerate(words))

    @property
    def registers(self) -> dict[Bank, dict[int, bytes]]:
        """The registers after all that was measured."""
        ima = measured(10, b"a module", type="ima", description="")
        events = (*self.firmware, *self.system, ima, *(record.extended() for record in self.agent_log))
        return {bank: dict(replay_events(bank, events)) for bank in BANKS}

    @property
    def ak_public(self) -> bytes:
        """TPMT_PUBLIC of the attestation key."""
        return _public(self.ak, self.ak_attributes, storage=False)

    def evidence(self, nonce: bytes, tls_spki_sha256: bytes) -> Evidence:
        """Answer a nonce over the connection of this TLS key, as the agent does."""
        assert self.envelope is not None
        bound = {
            "nonce": nonce,
            "spki_sha256": tls_spki_sha256,
            "manifest_sha256": hashlib.sha256(self.manifest).digest(),
        }
        srk_public = _public(self.srk, self.srk_attributes, storage=True)
        quote = self._quote(qualifying_data(EVIDENCE_LABEL, **bound))
        certify = self._attest(0x8017, qualifying_data(SRK_LABEL, **bound), self.certify_reset_count)
        certify += sized(name(srk_public)) + sized(name(srk_public))
        return Evidence(
            nonce=nonce,
            state=self.state,
            manifest_sha256=bound["manifest_sha256"],
            tls_spki_sha256=tls_spki_sha256,
            ek_certificate=self.ek_certificate,
            ak_public=self.ak_public,
            quote=Quote(attest=quote, signature=self._sign(quote)),
            srk=StorageKey(public=srk_public, attest=certify, signature=self._sign(certify)),
            pcrs=self.registers,
            firmware_log=encode_firmware_log(self.firmware),
            system_log=encode_system_log(self.system),
            agent_log=self.agent_log,
            deployment=self.envelope,
        )

    def activate(self, credential: Credential) -> bytes:
        """TPM2_ActivateCredential (Part 1, *Credential Protection*) for the RSA endorsement key and the
        AK."""
        scheme = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), b"IDENTITY\0")
        try:
            seed = endorsement_key(self.ek_number).decrypt(credential.encrypted_secret, scheme)
        except ValueError:
            raise MantletError("TPM_RC_VALUE: the seed is for another key", hint="-") from None
        tag, ciphertext = credential.credential_blob[2:34], credential.credential_blob[34:]
        integrity = kdfa("sha256", seed, "INTEGRITY", (b"", b""), 256)
        bound = ciphertext + name(self.ak_public)
        if not hmac.compare_digest(tag, hmac.digest(integrity, bound, "sha256")):
            raise MantletError("TPM_RC_INTEGRITY: the credential is for another name", hint="-")
        key = kdfa("sha256", seed, "STORAGE", (name(self.ak_public), b""), 128)
        return Cipher(algorithms.AES(key), CFB(bytes(16))).decryptor().update(ciphertext)[2:]

    def _quote(self, extra: bytes) -> bytes:
        selections = b"".join(
            _be(bank.tpm_alg, 2) + b"\x03" + sum(1 << register for register in chosen).to_bytes(3, "little")
            for bank, chosen in self.selection.items()
        )
        values = b"".join(
            self.registers[bank][register] for bank, chosen in self.selection.items() for register in chosen
        )
        info = _be(len(self.selection), 4) + selections + sized(hashlib.sha256(values).digest())
        return self._attest(0x8018, extra, 7) + info

    def _attest(self, kind: int, extra: bytes, reset_count: int) -> bytes:
        clock = _be(123456, 8) + _be(reset_count, 4) + _be(0, 4) + b"\x01"
        head = _be(self.magic, 4) + _be(kind, 2) + sized(b"\0\x0b" + bytes(32)) + sized(extra)
        return head + clock + _be(0x20240125, 8)

    def _sign(self, message: bytes) -> bytes:
        r, s = decode_dss_signature(self.ak.sign(message, ec.ECDSA(hashes.SHA256())))
        return _be(0x0018, 2) + _be(0x000B, 2) + sized(_be(r, 32)) + sized(_be(s, 32))


def fresh_nonce() -> bytes:
    """Return a nonce that was never used."""
    return secrets.token_bytes(32)
