# SPDX-License-Identifier: Apache-2.0
"""Tests of the deployment document, the documents of a key's release, evidence and the agent's words."""

import dataclasses
import hashlib
import json
from typing import Any

import pytest

from mantlet_measure import approvals, deployment, epoch, evidence, handover, sealed, words
from mantlet_measure.errors import DecodeError
from mantlet_measure.pcr import BANKS
from tests.unit.measure.samples import APPROVALS, DEPLOYMENT, EPOCH, HANDOVER, MODEL, SEALED
from tests.unit.measure.samples import evidence as sample_evidence


def test_deployment_document_survives_a_round_trip() -> None:
    assert deployment.decode(deployment.encode(DEPLOYMENT)) == DEPLOYMENT


def test_deployment_document_in_another_spelling_is_refused() -> None:
    spaced = json.dumps(json.loads(deployment.encode(DEPLOYMENT)), indent=1).encode()
    with pytest.raises(DecodeError, match="canonical JSON"):
        deployment.decode(spaced)


def test_deployment_document_with_an_unknown_field_is_refused() -> None:
    value = json.loads(deployment.encode(DEPLOYMENT)) | {"shell": "yes"}
    with pytest.raises(DecodeError, match="no other member, found 'shell'"):
        deployment.decode(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def test_deployment_document_with_a_duplicate_field_is_refused() -> None:
    doubled = deployment.encode(DEPLOYMENT).replace(b'{"format"', b'{"id":"x","id":"x","format"')
    with pytest.raises(DecodeError, match="each member once"):
        deployment.decode(doubled)


@pytest.mark.parametrize(
    "change",
    [
        {"version": ""},
        {"epoch": 0},
        {"epoch": 1 << 32},
        {"file": "../model.gguf"},
        {"file": ".hidden"},
        {"file": "a/b"},
        {"id": "Upper"},
        {"id": ""},
        {"hash_offset": 16385},
        {"hash_offset": 12288},
        {"size": 16384},
        {"size": 20481},
        {"data_blocks": 0},
        {"data_blocks": 5},
        {"size": 1 << 50},
    ],
)
def test_model_that_breaks_its_own_geometry_or_names_is_refused(change: dict[str, Any]) -> None:
    model = dataclasses.replace(MODEL, **change)
    with pytest.raises(DecodeError, match="deployment document"):
        deployment.decode(deployment.encode(dataclasses.replace(DEPLOYMENT, model=model)))


@pytest.mark.parametrize(
    "policy_key",
    [b"", b"\x00\x0b" + bytes(31), b"\x00\x0c" + bytes(32), b"\x00\x0c" + bytes(48), b"\x00\x0b" + bytes(33)],
    ids=["none", "short", "another algorithm", "SHA-384", "long"],
)
def test_deployment_document_whose_policy_key_is_no_name_is_refused(policy_key: bytes) -> None:
    with pytest.raises(DecodeError, match="deployment document: policy_key"):
        deployment.decode(deployment.encode(dataclasses.replace(DEPLOYMENT, policy_key=policy_key)))


def test_deployment_document_without_a_policy_key_is_refused() -> None:
    value = json.loads(deployment.encode(DEPLOYMENT))
    del value["policy_key"]
    with pytest.raises(DecodeError, match="policy_key"):
        deployment.decode(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def test_sealed_key_survives_a_round_trip() -> None:
    assert sealed.decode(sealed.encode(SEALED)) == SEALED


def test_sealed_key_with_the_policy_reference_of_another_model_is_refused() -> None:
    foreign = dataclasses.replace(SEALED, policy_ref="mantlet/weights/other")
    with pytest.raises(DecodeError, match="policy_ref"):
        sealed.decode(sealed.encode(foreign))


@pytest.mark.parametrize("change", [{"key_id": bytes(15)}, {"srk_name": bytes(32)}, {"model": "Upper"}])
def test_sealed_key_that_names_nothing_well_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(DecodeError, match="sealed key"):
        sealed.decode(sealed.encode(dataclasses.replace(SEALED, **change)))


def test_approvals_survive_a_round_trip() -> None:
    assert approvals.decode(approvals.encode(APPROVALS)) == APPROVALS


@pytest.mark.parametrize("count", [0, 65])
def test_approvals_of_nothing_or_of_too_much_are_refused(count: int) -> None:
    listed = dataclasses.replace(APPROVALS, approvals=APPROVALS.approvals * count)
    with pytest.raises(DecodeError, match="approvals"):
        approvals.decode(approvals.encode(listed))


@pytest.mark.parametrize("policy_ref", ["mantlet/epoch", "mantlet/weights/", "weights/tiny"])
def test_approvals_for_another_purpose_are_refused(policy_ref: str) -> None:
    with pytest.raises(DecodeError, match="policy_ref"):
        approvals.decode(approvals.encode(dataclasses.replace(APPROVALS, policy_ref=policy_ref)))


@pytest.mark.parametrize("change", [{"epoch": 0}, {"epoch": 1 << 32}, {"policy": bytes(31)}])
def test_an_approval_outside_its_limits_is_refused(change: dict[str, Any]) -> None:
    approval = dataclasses.replace(APPROVALS.approvals[0], **change)
    with pytest.raises(DecodeError, match="approval 0"):
        approvals.decode(approvals.encode(dataclasses.replace(APPROVALS, approvals=(approval,))))


def test_a_handover_survives_a_round_trip_and_is_what_its_parts_are() -> None:
    assert handover.decode(handover.encode(HANDOVER)) == HANDOVER
    value = json.loads(handover.encode(HANDOVER))
    assert value["sealed_key"] == json.loads(sealed.encode(SEALED))
    assert value["approvals"] == json.loads(approvals.encode(APPROVALS))


@pytest.mark.parametrize("part", ["sealed_key", "approvals"])
def test_a_handover_without_one_of_its_parts_is_refused(part: str) -> None:
    value = json.loads(handover.encode(HANDOVER))
    del value[part]
    with pytest.raises(DecodeError, match=part):
        handover.decode(json.dumps(value).encode())


def test_an_epoch_statement_survives_a_round_trip() -> None:
    assert epoch.decode(epoch.encode(EPOCH)) == EPOCH


@pytest.mark.parametrize("number", [0, -1, 1 << 32])
def test_an_epoch_outside_its_limits_is_refused(number: int) -> None:
    with pytest.raises(DecodeError, match="epoch"):
        epoch.decode(epoch.encode(dataclasses.replace(EPOCH, epoch=number)))


def test_evidence_survives_a_round_trip() -> None:
    assert evidence.decode(evidence.encode(sample_evidence())) == sample_evidence()


@pytest.mark.parametrize("bank", BANKS)
def test_evidence_that_leaves_out_a_register_is_refused(bank: str) -> None:
    value = json.loads(evidence.encode(sample_evidence()))
    del value["pcrs"][bank]["15"]
    with pytest.raises(DecodeError, match=f"pcrs: {bank}: expected member '15', found none"):
        evidence.decode(json.dumps(value).encode())


def test_evidence_with_a_register_too_many_is_refused() -> None:
    value = json.loads(evidence.encode(sample_evidence()))
    value["pcrs"]["sha256"]["16"] = "00" * 32
    with pytest.raises(DecodeError, match="no other member, found '16'"):
        evidence.decode(json.dumps(value).encode())


def test_evidence_in_an_unknown_state_is_refused() -> None:
    value = json.loads(evidence.encode(sample_evidence())) | {"state": "debug"}
    with pytest.raises(DecodeError, match="state"):
        evidence.decode(json.dumps(value).encode())


def test_qualifying_data_is_the_hash_of_length_prefixed_parts() -> None:
    parts = (b"mantlet/evidence/v1", b"n" * 32, b"s" * 32, b"m" * 32)
    expected = hashlib.sha256()
    for part in parts:
        expected.update(len(part).to_bytes(4, "big"))
        expected.update(part)
    made = evidence.qualifying_data(
        evidence.EVIDENCE_LABEL, nonce=parts[1], spki_sha256=parts[2], manifest_sha256=parts[3]
    )
    assert made == expected.digest()


def test_labels_separate_the_quote_from_the_certification_of_the_srk() -> None:
    same = {"nonce": bytes(32), "spki_sha256": bytes(32), "manifest_sha256": bytes(32)}
    assert evidence.qualifying_data(evidence.SRK_LABEL, **same) != evidence.qualifying_data(
        evidence.EVIDENCE_LABEL, **same
    )


@pytest.mark.parametrize("capped", [True, False])
def test_words_are_those_of_the_formats_document(capped: bool) -> None:
    made = words.agent_words(
        deployment_sha256=b"\xab" * 32, runtime_sha256=b"\xcd" * 32, root_hash=b"\xef" * 32, capped=capped
    )
    expected = [
        ("deployment", "mantlet:deployment:" + "ab" * 32),
        ("runtime", "mantlet:runtime:" + "cd" * 32),
        ("weights", "mantlet:weights:" + "ef" * 32),
        ("cap", "mantlet:cap"),
    ]
    assert list(made) == expected[: 4 if capped else 3]


def test_events_of_the_words_are_the_hashes_of_their_ascii() -> None:
    events = words.agent_events(
        deployment_sha256=bytes(32), runtime_sha256=bytes(32), root_hash=bytes(32), capped=True
    )
    assert {event.register for event in events} == {15}
    for event in events:
        for bank in BANKS:
            assert event.digests[bank] == hashlib.new(bank.value, event.description.encode()).digest()
