# SPDX-License-Identifier: Apache-2.0
"""Tests of measurements.json and of the making of deployment documents."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from mantlet.release import manifest
from mantlet.release.deployment import new_deployment, sign
from mantlet.release.manifest import Basis, Platform, Proof
from mantlet_measure import deployment, dsse
from mantlet_measure.errors import DecodeError
from mantlet_measure.pcr import ALL_BANKS, BANKS
from tests.unit.measure.samples import DEPLOYMENT, MODEL, RELEASE_KEY
from tests.unit.release.samples import MANIFEST, expected

SCHEMA = Path(__file__).parents[3] / "policies" / "schema" / "measurements.json"


def _changed(change: Callable[[Any], object]) -> bytes:
    value = json.loads(manifest.encode(MANIFEST))
    change(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def test_manifest_survives_a_round_trip() -> None:
    assert manifest.decode(manifest.encode(MANIFEST)) == MANIFEST


def test_manifest_matches_its_json_schema() -> None:
    schema = json.loads(SCHEMA.read_bytes())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(manifest.encode(MANIFEST)), schema)


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.update(extra=1),
        lambda value: value["image"].pop("uki_sha256"),
        lambda value: value["image"].update(uki_sha256="AB" * 32),
        lambda value: value["platforms"].clear(),
        lambda value: value["platforms"]["qemu-ovmf"].update(enforced=[]),
        lambda value: value["platforms"]["qemu-ovmf"].update(enforced=[11, 16]),
        lambda value: value["platforms"]["qemu-ovmf"]["banks"].pop("sha384"),
        lambda value: value["platforms"]["qemu-ovmf"]["banks"].update(md5={}),
        lambda value: value["platforms"]["qemu-ovmf"].update(tested="believed"),
        lambda value: value["platforms"]["qemu-ovmf"]["basis"].update({"11": "guessed"}),
        lambda value: value["platforms"]["qemu-ovmf"]["unpredictable"].update({"9": ""}),
        lambda value: value["platforms"]["qemu-ovmf"].update(firmware_sha256="00"),
        lambda value: value["platforms"]["qemu-ovmf"]["banks"]["sha256"].update({"16": {}}),
    ],
)
def test_manifest_out_of_shape_is_refused_by_decoder_and_schema(change: Callable[[Any], object]) -> None:
    data = _changed(change)
    with pytest.raises(DecodeError, match=r"measurements\.json"):
        manifest.decode(data)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(json.loads(data), json.loads(SCHEMA.read_bytes()))


def _platform(value: Any) -> Any:
    return value["platforms"]["qemu-ovmf"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            lambda value: _platform(value)["banks"]["sha256"]["11"].update(value="00" * 32),
            "the fold of its events",
        ),
        (
            lambda value: _platform(value)["banks"]["sha256"]["11"]["events"].reverse(),
            "the fold of its events",
        ),
        (lambda value: _platform(value)["banks"]["sha384"]["11"]["events"].pop(), "the fold of its events"),
        (
            lambda value: _platform(value)["banks"]["sha384"]["11"]["events"][0].update(description="other"),
            "the same events in all banks",
        ),
        (lambda value: _platform(value)["banks"]["sha256"].pop("15"), "the same events in all banks"),
        (lambda value: _platform(value).update(enforced=[4, 11]), r"none of \[4\]"),
        (lambda value: _platform(value)["unpredictable"].update({"11": "because"}), r"one of \[11\]"),
        (lambda value: _platform(value)["basis"].update({"11": "recorded"}), "no recorded register enforced"),
        (lambda value: _platform(value)["basis"].update({"3": "computed"}), "canonical JSON"),
        (lambda value: _platform(value)["basis"].pop("15"), "canonical JSON"),
        (lambda value: _platform(value).update(firmware_sha256="00" * 32), "exactly when"),
        (lambda value: _platform(value).update(enforced=[15, 11]), "in order"),
        (lambda value: _platform(value).update(enforced=[11, True]), "registers from 0 to 15"),
        (lambda value: value["platforms"].update({"Bad Name": _platform(value)}), "a string like"),
    ],
)
def test_manifest_that_contradicts_itself_is_refused(change: Callable[[Any], object], why: str) -> None:
    with pytest.raises(DecodeError, match=why):
        manifest.decode(_changed(change))


def test_manifest_of_a_foreign_image_survives_without_name_and_root_hash() -> None:
    foreign = dataclasses.replace(
        MANIFEST, image=dataclasses.replace(MANIFEST.image, id="", version="", roothash=b"", epoch=0)
    )
    value = json.loads(manifest.encode(foreign))
    assert set(value["image"]) == {"architecture", "uki_sha256", "cmdline", "stub"}
    jsonschema.validate(value, json.loads(SCHEMA.read_bytes()))
    assert manifest.decode(manifest.encode(foreign)) == foreign


def test_deployment_of_an_image_without_a_name_is_refused() -> None:
    foreign = dataclasses.replace(MANIFEST, image=dataclasses.replace(MANIFEST.image, id=""))
    with pytest.raises(DecodeError, match="id"):
        new_deployment(
            manifest.encode(foreign),
            MODEL,
            id="demo",
            runtime="llama-server",
            policy_key=DEPLOYMENT.policy_key,
        )


def test_manifest_carries_further_banks_recorded_registers_and_reasons() -> None:
    banks = {bank: {0: expected(bank, b"crtm"), 15: expected(bank)} for bank in ALL_BANKS}
    platform = Platform(
        enforced=(15,),
        banks=banks,
        recorded=(0,),
        firmware_sha256=b"\x03" * 32,
        unpredictable={9: "the stub adds a random secret"},
        tested=Proof.BOOTED,
    )
    wide = dataclasses.replace(MANIFEST, platforms={"qemu-ovmf": platform})
    data = manifest.encode(wide)
    assert manifest.decode(data) == wide
    assert platform.basis == {0: Basis.RECORDED, 15: Basis.COMPUTED}
    jsonschema.validate(json.loads(data), json.loads(SCHEMA.read_bytes()))


def test_manifest_that_extends_the_register_of_the_agent_is_refused() -> None:
    banks = {bank: {15: expected(bank, b"mantlet:cap")} for bank in BANKS}
    forged = dataclasses.replace(MANIFEST, platforms={"qemu-ovmf": Platform(enforced=(15,), banks=banks)})
    with pytest.raises(DecodeError, match="which is the agent's"):
        manifest.decode(manifest.encode(forged))


def test_manifest_in_another_spelling_is_refused() -> None:
    with pytest.raises(DecodeError, match="canonical JSON"):
        manifest.decode(json.dumps(json.loads(manifest.encode(MANIFEST)), indent=2).encode())


def test_new_deployment_ties_manifest_model_and_runtime() -> None:
    data = manifest.encode(MANIFEST)
    document = new_deployment(
        data, MODEL, id="demo", runtime="llama-server", policy_key=DEPLOYMENT.policy_key
    )
    assert document.manifest_sha256 == hashlib.sha256(data).digest()
    assert (document.image_id, document.image_version, document.model) == ("mantlet", "0.1.0", MODEL)
    envelope = sign(document, [RELEASE_KEY])
    payload = dsse.authenticate(
        envelope, keys=[RELEASE_KEY.public_key()], payload_type=deployment.PAYLOAD_TYPE
    )
    assert deployment.decode(payload) == document


def test_deployment_that_the_agent_would_refuse_is_refused_before_it_is_signed() -> None:
    with pytest.raises(DecodeError, match="deployment document: id"):
        new_deployment(
            manifest.encode(MANIFEST),
            MODEL,
            id="Not An Id",
            runtime="llama-server",
            policy_key=DEPLOYMENT.policy_key,
        )


def test_deployment_document_is_not_signed_by_nobody() -> None:
    document = new_deployment(
        manifest.encode(MANIFEST), MODEL, id="demo", runtime="llama-server", policy_key=DEPLOYMENT.policy_key
    )
    with pytest.raises(ValueError, match="needs a signature"):
        sign(document, [])
