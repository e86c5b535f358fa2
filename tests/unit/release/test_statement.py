# SPDX-License-Identifier: Apache-2.0
"""Tests of the release statement: what may be signed, and what of it is believed."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mantlet.release import manifest, report, statement
from mantlet.release.attack_results import Attack, Verdict
from mantlet.release.report import Report
from mantlet.release.statement import Release, ReleaseError
from mantlet_measure import dsse, strictjson
from mantlet_measure.dsse import SignatureError
from mantlet_measure.errors import DecodeError
from tests.unit.release.reports import ATTACKS, EXPLAINED, MANIFEST_BYTES, attack, report_of
from tests.unit.release.samples import MANIFEST

SCHEMA = Path(__file__).parents[3] / "policies" / "schema" / "statement.json"
KEY = Ed25519PrivateKey.generate()
REPORT = report_of()
CREATED = 1_790_000_000


def signed(
    made: Report = REPORT, *, waived: Mapping[str, str] | None = None, key: Ed25519PrivateKey = KEY
) -> bytes:
    """The statement of a release on this report."""
    envelope = statement.sign(
        report.encode(made), made.build, created=CREATED, waived=waived or {}, keys=[key]
    )
    return dsse.encode(envelope)


def forged(change: Callable[[Any], object], *, key: Ed25519PrivateKey = KEY) -> bytes:
    """A statement that a key holder signed without asking `sign`."""
    value = json.loads(dsse.decode(signed()).payload)
    change(value)
    return dsse.encode(dsse.sign(statement.PAYLOAD_TYPE, strictjson.encode(value), [key]))


def believed(envelope: bytes, made: Report = REPORT, *, manifest_bytes: bytes = MANIFEST_BYTES) -> Release:
    return statement.authenticate(
        envelope, report_bytes=report.encode(made), manifest_bytes=manifest_bytes, keys=[KEY.public_key()]
    )


def under(*attacks: Attack) -> Report:
    """The report, had these been the attacks."""
    return dataclasses.replace(REPORT, attacks=attacks)


def refused(made: Report, *, waived: Mapping[str, str] | None = None) -> list[str]:
    """What `sign` says against a report."""
    with pytest.raises(ReleaseError) as caught:
        signed(made, waived=waived)
    return [obstacle.line for obstacle in caught.value.obstacles]


def test_a_release_is_signed_and_believed() -> None:
    release = believed(signed())
    assert release.report == REPORT
    assert release.keyids == (dsse.keyid(KEY.public_key()),)
    assert release.statement.created == CREATED
    assert release.statement.build == REPORT.build
    assert release.statement.report_sha256 == hashlib.sha256(report.encode(REPORT)).digest()


def test_the_same_inputs_give_the_same_bytes_and_they_match_the_schema() -> None:
    assert signed() == signed()
    payload = json.loads(dsse.decode(signed()).payload)
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_bytes())).validate(payload)


def test_an_open_promise_stands_against_nothing_though_its_attack_was_not_run() -> None:
    assert REPORT.rows[2].attack is Verdict.NOT_RUN
    assert believed(signed()).report.rows[2].rule.status == "open"


@pytest.mark.parametrize("rules", [("A02",), ("B01",), ("P01",)], ids=["kept", "open", "limit"])
def test_a_breach_is_never_signed_whatever_the_promise(rules: tuple[str, ...]) -> None:
    broken = under(*ATTACKS, attack("z-broken", Verdict.BREACH, *rules))
    (line,) = refused(broken)
    assert line.startswith(f"attack z-broken on {rules[0]}: expected no effect")
    assert "a breach (reason of z-broken)" in line


@pytest.mark.parametrize("control", [None, Verdict.INERT])
def test_a_void_control_is_never_signed(control: Verdict | None) -> None:
    void = under(*ATTACKS, attack("z-void", Verdict.VOID, "A01", control=control))
    (line,) = refused(void)
    assert line.endswith("expected a control in which it succeeds, found reason of z-void")
    assert refused(void, waived={"keyboard": "no keyboard here"})[0] == line


def test_a_finding_that_nobody_explains_is_never_signed() -> None:
    standing = dataclasses.replace(EXPLAINED, reason=None)
    audit = dataclasses.replace(REPORT.audit, findings=(standing,))
    (line,) = refused(dataclasses.replace(REPORT, audit=audit))
    assert line == "finding words, /a|b: expected nothing, found a word"


def test_a_check_that_the_audit_does_not_have_is_never_signed() -> None:
    audit = dataclasses.replace(REPORT.audit, checks={"words": "No word."})
    lines = refused(dataclasses.replace(REPORT, audit=audit))
    assert lines == [
        f"rule {rule}: expected the check getty, found an audit without it" for rule in ("A01", "A02")
    ]


def test_an_attack_on_a_kept_promise_that_was_not_run_must_be_waived_by_name() -> None:
    partly = under(ATTACKS[0], attack("serial-keys", Verdict.NOT_RUN, "A02", control=None))
    (line,) = refused(partly)
    assert line == "rule A02: expected the attack serial on it, found it was not run"
    waived = {"serial": "no serial port here"}
    assert believed(signed(partly, waived=waived), partly).statement.waived == waived
    assert refused(under(ATTACKS[0]), waived={}) == [line]


def test_a_success_that_is_stated_as_a_limit_is_not_signed_for_a_kept_promise() -> None:
    (line,) = refused(under(*ATTACKS, attack("z-limit", Verdict.LIMIT, "A01", control=None)))
    assert line.startswith("rule A01, Login: expected no success")
    stated = under(*ATTACKS, attack("z-limit", Verdict.LIMIT, "P01", control=None))
    assert believed(signed(stated), stated).report == stated


@pytest.mark.parametrize("name", ["keyboard", "swap", "nothing"])
def test_a_waiver_of_what_was_run_or_is_not_promised_is_refused(name: str) -> None:
    (line,) = refused(REPORT, waived={name: "because"})
    assert line.startswith(f"waiver of {name}: expected an attack that a kept promise hangs on")


def test_an_image_that_is_made_to_be_entered_is_never_signed() -> None:
    image = dataclasses.replace(REPORT.image, id="mantlet-debug")
    audit = dataclasses.replace(REPORT.audit, image="mantlet-debug")
    (line,) = refused(dataclasses.replace(REPORT, image=image, audit=audit))
    assert line.startswith("image mantlet-debug: expected an image for production")


def test_an_audit_of_another_image_is_never_signed() -> None:
    audit = dataclasses.replace(REPORT.audit, image="")
    (line,) = refused(dataclasses.replace(REPORT, audit=audit))
    assert line == "audit: expected one of image mantlet, found one of an image without an id"


def test_a_report_on_another_build_is_not_signed() -> None:
    other = dataclasses.replace(REPORT.build, disk_sha256=bytes(32))
    with pytest.raises(ReleaseError, match=r"disk_sha256 of the build folder: expected 0d0d.*found 0000"):
        statement.sign(report.encode(REPORT), other, created=CREATED, waived={}, keys=[KEY])


def test_everything_that_stands_against_a_release_is_named() -> None:
    audit = dataclasses.replace(REPORT.audit, findings=(dataclasses.replace(EXPLAINED, reason=None),))
    broken = under(ATTACKS[0], attack("z-broken", Verdict.BREACH, "A01"))
    lines = refused(dataclasses.replace(broken, audit=audit), waived={"swap": "because"})
    assert [line.split()[0] for line in lines] == ["finding", "attack", "rule", "waiver"]


def test_a_statement_of_a_stranger_is_refused() -> None:
    with pytest.raises(SignatureError, match="out of 1 trusted keys"):
        believed(signed(key=Ed25519PrivateKey.generate()))


def test_a_statement_under_another_type_is_refused() -> None:
    payload = dsse.decode(signed()).payload
    other = dsse.encode(dsse.sign("application/vnd.mantlet.deployment+json", payload, [KEY]))
    with pytest.raises(SignatureError, match="expected payload type"):
        believed(other)


def test_another_report_than_the_signed_one_is_refused() -> None:
    better = under(*ATTACKS, attack("z-more", Verdict.INERT, "A01"))
    with pytest.raises(DecodeError, match="as the release statement says"):
        believed(signed(), better)


def test_a_manifest_of_another_build_is_refused() -> None:
    image = dataclasses.replace(MANIFEST.image, version="0.2.0")
    other = manifest.encode(dataclasses.replace(MANIFEST, image=image))
    with pytest.raises(ReleaseError) as caught:
        believed(signed(), manifest_bytes=other)
    subjects = [obstacle.subject for obstacle in caught.value.obstacles]
    assert subjects == ["manifest_sha256 of the manifest", "image of the release"]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda value: value["image"].update(epoch=2), "image of the release"),
        (lambda value: value["build"].update(uki_sha256="00" * 32), "uki_sha256 of the manifest"),
        (lambda value: value["build"].update(disk_sha256="00" * 32), "disk_sha256 of the release statement"),
        (lambda value: value["waived"].update(swap="because"), "waiver of swap"),
    ],
)
def test_a_signed_statement_that_contradicts_report_or_manifest_is_refused(
    change: Callable[[Any], object], found: str
) -> None:
    with pytest.raises(ReleaseError, match=found):
        believed(forged(change))


def test_a_signature_does_not_make_a_breach_good() -> None:
    broken = under(*ATTACKS, attack("z-broken", Verdict.BREACH, "A01"))
    digest = hashlib.sha256(report.encode(broken)).hexdigest()
    with pytest.raises(ReleaseError, match="attack z-broken"):
        believed(forged(lambda value: value.update(report_sha256=digest)), broken)


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.update(extra=1),
        lambda value: value.pop("waived"),
        lambda value: value.update(created=-1),
        lambda value: value.update(report_sha256="00"),
        lambda value: value["image"].update(epoch=0),
        lambda value: value["waived"].update({"Bad Name": "because"}),
        lambda value: value["waived"].update(swap=""),
        lambda value: value["waived"].update({f"a{number}": "because" for number in range(65)}),
    ],
)
def test_a_statement_out_of_shape_is_refused_by_decoder_and_schema(change: Callable[[Any], object]) -> None:
    envelope = forged(change)
    schema = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_bytes()))
    assert not schema.is_valid(json.loads(dsse.decode(envelope).payload))
    with pytest.raises(DecodeError):
        believed(envelope)


def test_another_spelling_of_a_statement_is_refused() -> None:
    loose = json.dumps(json.loads(dsse.decode(signed()).payload), indent=1).encode()
    with pytest.raises(DecodeError, match="another spelling"):
        statement.decode(loose)


def test_a_waiver_that_a_reader_would_refuse_is_not_signed() -> None:
    partly = under(ATTACKS[0])
    with pytest.raises(DecodeError, match="waived: serial"):
        signed(partly, waived={"serial": "two\nlines"})
