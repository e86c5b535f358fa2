# SPDX-License-Identifier: Apache-2.0
"""Small, valid documents of every kind, for the tests of the ground floor and for the property tests."""

import hashlib
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mantlet_measure import deployment, dsse, words
from mantlet_measure.approvals import Approval, Approvals, Image
from mantlet_measure.body import Stream, StreamFile
from mantlet_measure.cel import agent_record
from mantlet_measure.deployment import Deployment, Model
from mantlet_measure.epoch import EpochStatement
from mantlet_measure.evidence import PCR_SELECTION, Evidence, Quote, State, StorageKey
from mantlet_measure.handover import Handover
from mantlet_measure.pcr import BANKS, Event, measured
from mantlet_measure.remote import Remote
from mantlet_measure.sealed import SealedKey

RELEASE_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))

MODEL = Model(
    id="tiny",
    version="1",
    epoch=1,
    file="model.gguf",
    root_hash=b"\x11" * 32,
    salt=b"\x22" * 32,
    data_blocks=4,
    hash_offset=16384,
    size=20480,
)
DEPLOYMENT = Deployment(
    id="demo",
    image_id="mantlet",
    image_version="0.1.0",
    manifest_sha256=b"\x33" * 32,
    model=MODEL,
    policy_key=b"\x00\x0b" + b"p" * 32,
    runtime="llama-server",
)
REMOTE = Remote(
    url="https://store.test:8443/a/model.raw?key=x&n=1", address="192.0.2.7", authorities=(b"one", b"two")
)
STREAMED = replace(MODEL, stream=Stream(files=(StreamFile(name=MODEL.file, size=9),)))
FETCHED = replace(DEPLOYMENT, model=STREAMED, fetch=REMOTE)
SEALED = SealedKey(
    model="tiny",
    root_hash=MODEL.root_hash,
    key_id=b"\x55" * 16,
    srk_name=b"\x00\x0b" + b"\x66" * 32,
    object_public=b"public",
    duplicate=b"private",
    encrypted_seed=b"seed",
    policy_key=b"key",
    policy_ref="mantlet/weights/tiny",
)
APPROVALS = Approvals(
    policy_key=b"key",
    policy_ref="mantlet/weights/tiny",
    approvals=(
        Approval(
            policy=b"\x44" * 32, epoch=3, signature=b"signature", image=Image(id="mantlet", version="0.1.0")
        ),
    ),
)
HANDOVER = Handover(sealed_key=SEALED, approvals=APPROVALS)
EPOCH = EpochStatement(epoch=3, policy_key=b"key", policy=b"\x77" * 32, signature=b"signature")


def envelope() -> dsse.Envelope:
    """The deployment document, signed by the release key."""
    return dsse.sign(deployment.PAYLOAD_TYPE, deployment.encode(DEPLOYMENT), [RELEASE_KEY])


def evidence() -> Evidence:
    """Evidence of the right shape; none of its signatures means anything."""
    record_words = words.agent_words(
        deployment_sha256=b"\x55" * 32, runtime_sha256=b"\x66" * 32, root_hash=MODEL.root_hash, capped=True
    )
    return Evidence(
        nonce=b"\x77" * 32,
        state=State.SERVING,
        manifest_sha256=DEPLOYMENT.manifest_sha256,
        tls_spki_sha256=b"\x88" * 32,
        ek_certificate=b"certificate",
        ak_public=b"ak",
        quote=Quote(attest=b"attest", signature=b"signature"),
        srk=StorageKey(public=b"srk", attest=b"attest", signature=b"signature"),
        pcrs={
            bank: {register: bytes([register]) * bank.size for register in registers}
            for bank, registers in PCR_SELECTION.items()
        },
        firmware_log=firmware_log(EVENTS),
        system_log=system_log(PHASES),
        agent_log=tuple(agent_record(index, event, word) for index, (event, word) in enumerate(record_words)),
        deployment=envelope(),
    )


EVENTS: tuple[tuple[int, int, bytes], ...] = (
    (0, 0x00000008, "2026.08\0".encode("utf-16-le")),
    (4, 0x80000007, b"Calling EFI Application from Boot Option"),
    (4, 0x00000004, bytes(4)),
    (11, 0x0000000D, ".linux\0".encode("utf-16-le")),
    (9, 0x00000006, (0x8F3B22EC).to_bytes(4, "little") + (13).to_bytes(4, "little") + b"Linux initrd\0"),
)
PHASES: tuple[Event, ...] = tuple(
    measured(11, word.encode(), type="phase", description=word) for word in ("enter-initrd", "leave-initrd")
)
NV_RECORD = (
    b'\x1e{"nv_index":30474752,"digests":[{"hashAlg":"sha256","digest":"' + b"01" * 32 + b'"}],'
    b'"content_type":"systemd","content":{"nvIndexName":"hardware","string":"product-id:x","bootId":"'
    + b"00" * 16
    + b'","timestamp":1,"eventType":"nvpcr-init"}}\n'
)
_BANKS = {0x0004: 20, 0x000B: 32, 0x000C: 48}


def no_action(content: bytes) -> bytes:
    """An EV_NO_ACTION event of the crypto-agile log: logged, never extended."""
    return _event(0, 3, {alg: bytes(size) for alg, size in _BANKS.items()}, content)


def firmware_log(events: tuple[tuple[int, int, bytes], ...], *, locality: int | None = None) -> bytes:
    """A crypto-agile log (PFP 1.06) of three banks; the digests of ours are those of the event data."""
    algorithms = b"".join(
        alg.to_bytes(2, "little") + size.to_bytes(2, "little") for alg, size in _BANKS.items()
    )
    spec = (
        b"Spec ID Event03\0" + bytes(4) + bytes([0, 2, 0, 2]) + len(_BANKS).to_bytes(4, "little") + algorithms
    )
    spec += b"\0"
    log = bytes(4) + (3).to_bytes(4, "little") + bytes(20) + len(spec).to_bytes(4, "little") + spec
    if locality is not None:
        log += no_action(b"StartupLocality\0" + bytes([locality]))
    for register, kind, content in events:
        own = measured(register, content, type="", description="").digests
        digests = {0x0004: b"\x01" * 20} | {bank.tpm_alg: own[bank] for bank in BANKS}
        log += _event(register, kind, digests, content)
    return log


def sha1_log(events: tuple[tuple[int, int, bytes], ...]) -> bytes:
    """A log of the SHA-1 form (TCG_PCR_EVENT); digests are those of the event data."""
    return b"".join(
        register.to_bytes(4, "little")
        + kind.to_bytes(4, "little")
        + hashlib.sha1(content).digest()
        + len(content).to_bytes(4, "little")
        + content
        for register, kind, content in events
    )


def _event(register: int, kind: int, digests: dict[int, bytes], content: bytes) -> bytes:
    head = register.to_bytes(4, "little") + kind.to_bytes(4, "little") + len(digests).to_bytes(4, "little")
    values = b"".join(alg.to_bytes(2, "little") + digest for alg, digest in digests.items())
    return head + values + len(content).to_bytes(4, "little") + content


def system_log(events: tuple[Event, ...]) -> bytes:
    """A log as systemd 262 writes it (src/shared/tpm2-util.c, `tpm2_userspace_log`)."""
    records = []
    for event in events:
        digests = ",".join(f'{{"hashAlg":"{bank}","digest":"{event.digests[bank].hex()}"}}' for bank in BANKS)
        content = (
            f'{{"string":"{event.description}","bootId":"{"0f" * 16}","timestamp":4711,'
            f'"eventType":"{event.type}"}}'
        )
        records.append(
            f'\x1e{{"pcr":{event.register},"digests":[{digests}],"content_type":"systemd","content":{content}}}\n'
        )
    return "".join(records).encode()


# The TCG's ECC P-256 storage root key template (TCG TPM v2.0 Provisioning Guidance, 7.5.1), unique all zero.
SRK = bytes.fromhex("0023000b0003047200000006008000430010000300100020") + bytes(32) + b"\x00\x20" + bytes(32)
