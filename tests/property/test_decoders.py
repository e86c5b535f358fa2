# SPDX-License-Identifier: Apache-2.0
"""Properties of the decoders: any bytes give a value or a DecodeError, and nothing else."""

import contextlib
from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mantlet.predict import der, pe, signature_lists, uki
from mantlet.predict.authenticode import authenticode
from mantlet.predict.signature import signers
from mantlet.predict.uki import UnpredictableError
from mantlet.predict.variables import decode_store
from mantlet.release import manifest
from mantlet_measure import (
    approvals,
    deployment,
    dsse,
    epoch,
    evidence,
    handover,
    sealed,
    strictjson,
    tpm_structs,
    volume,
)
from mantlet_measure.canonical_log import decode_canonical_log, encode_canonical_log
from mantlet_measure.cel import decode_agent_log, decode_system_log, encode_agent_log
from mantlet_measure.errors import DecodeError
from mantlet_measure.eventlog import decode_firmware_log
from mantlet_measure.pcr import Bank
from tests.unit.measure import recorded, samples
from tests.unit.predict import signing, synthetic
from tests.unit.release.samples import MANIFEST


class Decoder(NamedTuple):
    """A decoder of untrusted bytes and a sample that it takes."""

    name: str
    decode: Callable[[bytes], object]
    sample: bytes


def _signature_list() -> bytes:
    entry = bytes(16) + b"\x30\x03\x02\x01\x00"
    head = signature_lists.X509.bytes_le + (28 + len(entry)).to_bytes(4, "little") + bytes(4)
    return head + len(entry).to_bytes(4, "little") + entry


def _store() -> bytes:
    name, data = "db\0".encode("utf-16-le"), _signature_list()
    variable = (
        b"\xaa\x55\x3f\0" + bytes(32) + len(name).to_bytes(4, "little") + len(data).to_bytes(4, "little")
    )
    variable += bytes(16) + name + data
    variable += bytes(-len(variable) % 4)
    body = variable + b"\xff" * 64
    auth = bytes.fromhex("782cf3aa7b949a43a1802e144ec37792")
    store = auth + (28 + len(body)).to_bytes(4, "little") + b"\x5a\xfe" + bytes(6) + body
    nv_data = bytes.fromhex("8d2bf1ff96768b4ca9852747075b4f50")
    length = (72 + len(store)).to_bytes(8, "little")
    return bytes(16) + nv_data + length + b"_FVH" + bytes(4) + (72).to_bytes(2, "little") + bytes(22) + store


UNSIGNED = synthetic.uki()
DIGEST = authenticode(pe.decode(UNSIGNED), Bank.SHA256)


def _signers(blob: bytes) -> object:
    return signers(pe.decode(signing.attach(UNSIGNED, signing.entry(blob))), DIGEST)


def _agent_log(data: bytes) -> object:
    return decode_agent_log(strictjson.decode(data, what="agent log"))


def _array() -> bytes:
    log = decode_firmware_log(samples.firmware_log(samples.EVENTS))
    system = decode_system_log(samples.system_log(samples.PHASES))
    return encode_canonical_log((*log.events, *system.events))


def _slot(data: bytes) -> object:
    return volume.decode_slot(data)


DECODERS = (
    Decoder("strict JSON", lambda data: strictjson.decode(data, what="sample"), b'{"a":[1,"\\u00e9",null]}'),
    Decoder("DSSE envelope", dsse.decode, dsse.encode(samples.envelope())),
    Decoder("deployment", deployment.decode, deployment.encode(samples.DEPLOYMENT)),
    Decoder("deployment that fetches", deployment.decode, deployment.encode(samples.FETCHED)),
    Decoder("sealed key", sealed.decode, sealed.encode(samples.SEALED)),
    Decoder("approvals", approvals.decode, approvals.encode(samples.APPROVALS)),
    Decoder("handover", handover.decode, handover.encode(samples.HANDOVER)),
    Decoder("epoch statement", epoch.decode, epoch.encode(samples.EPOCH)),
    Decoder("evidence", evidence.decode, evidence.encode(samples.evidence())),
    Decoder("manifest", manifest.decode, manifest.encode(MANIFEST)),
    Decoder("firmware log", decode_firmware_log, samples.firmware_log(samples.EVENTS, locality=3)),
    Decoder("firmware log of the SHA-1 form", decode_firmware_log, samples.sha1_log(samples.EVENTS)),
    Decoder("recorded firmware log", decode_firmware_log, recorded.boot().firmware_log),
    Decoder("system log", decode_system_log, samples.system_log(samples.PHASES)),
    Decoder("canonical log", decode_canonical_log, _array()),
    Decoder("agent log", _agent_log, strictjson.encode(encode_agent_log(samples.evidence().agent_log))),
    Decoder("volume slot", _slot, volume.encode_slot(b"payload")),
    Decoder("TPMT_PUBLIC", tpm_structs.decode_public, samples.SRK),
    Decoder("name of a TPMT_PUBLIC", tpm_structs.name, samples.SRK),
    Decoder("PE", pe.decode, synthetic.uki()),
    Decoder("UKI", uki.decode, synthetic.uki()),
    Decoder("signature lists", lambda data: signature_lists.decode(data, what="db"), _signature_list()),
    Decoder("variable store", decode_store, _store()),
    Decoder("DER value", lambda data: der.Values(data, "DER").next(der.SEQUENCE), b"\x30\x02\x05\x00"),
    Decoder("PKCS#7 message", _signers, signing.pkcs7(signing.Knobs(digest=DIGEST))),
)
FEW = settings(max_examples=60, deadline=None)


def _refuses_or_decodes(decoder: Decoder, data: bytes) -> None:
    """Fail on any exception but the refusals that a decoder may raise."""
    with contextlib.suppress(DecodeError, UnpredictableError):
        decoder.decode(data)


@pytest.mark.parametrize("decoder", DECODERS, ids=lambda decoder: decoder.name)
def test_sample_is_decoded(decoder: Decoder) -> None:
    decoder.decode(decoder.sample)


@pytest.mark.parametrize("decoder", DECODERS, ids=lambda decoder: decoder.name)
@FEW
@given(data=st.binary(max_size=400))
def test_any_bytes_are_decoded_or_refused(decoder: Decoder, data: bytes) -> None:
    _refuses_or_decodes(decoder, data)


@pytest.mark.parametrize("decoder", DECODERS, ids=lambda decoder: decoder.name)
@FEW
@given(data=st.data())
def test_damaged_sample_is_decoded_or_refused(decoder: Decoder, data: st.DataObject) -> None:
    sample = bytearray(decoder.sample)
    edits = st.lists(st.tuples(st.integers(0, len(sample) - 1), st.integers(0, 255)), max_size=4)
    for offset, value in data.draw(edits):
        sample[offset] = value
    cut = data.draw(st.integers(0, len(sample)) | st.just(len(sample)))
    _refuses_or_decodes(decoder, bytes(sample[:cut]))


@pytest.mark.parametrize(
    "decoder",
    [decoder for decoder in DECODERS if decoder.name in ("deployment", "manifest")],
    ids=lambda decoder: decoder.name,
)
@FEW
@given(data=st.data())
def test_flipped_bit_in_signed_bytes_never_decodes_to_the_same_document(
    decoder: Decoder, data: st.DataObject
) -> None:
    position = data.draw(st.integers(0, 8 * len(decoder.sample) - 1))
    flipped = bytearray(decoder.sample)
    flipped[position // 8] ^= 1 << position % 8
    try:
        assert decoder.decode(bytes(flipped)) != decoder.decode(decoder.sample)
    except DecodeError:
        return
