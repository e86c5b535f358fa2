# SPDX-License-Identifier: Apache-2.0
"""The release statement: which build is released, on which report (docs/formats.md, *Release statement*).

Owns its members, its signing and the way back: from an envelope, a report and a manifest to a release that
may be believed. Which keys may release is the caller's word.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mantlet.release import manifest, readiness, report
from mantlet.release.attack_results import NAME
from mantlet.release.build import (
    LINE,
    Build,
    ReleasedImage,
    build_from_fields,
    build_to_value,
    image_from_fields,
    image_to_value,
)
from mantlet.release.readiness import Obstacle
from mantlet.release.report import Report
from mantlet_measure import dsse, strictjson
from mantlet_measure.dsse import Envelope
from mantlet_measure.errors import DecodeError, MantletError
from mantlet_measure.strictjson import Fields

FORMAT = "mantlet-release/v1"
PAYLOAD_TYPE = "application/vnd.mantlet.release+json"
WHAT = "release statement"
_WAIVED = 64
# 9999-12-31, the last day that RFC 3339 can write.
_LATEST = 253_402_300_799


class ReleaseError(MantletError):
    """A release that may not be signed, or believed: all that stands against it, not the first alone."""

    def __init__(self, obstacles: Sequence[Obstacle]) -> None:
        """Take what stands against it, at least one thing."""
        more = f", and {len(obstacles) - 1} more" if len(obstacles) > 1 else ""
        super().__init__(f"{obstacles[0].line}{more}", hint=obstacles[0].hint)
        self.obstacles = tuple(obstacles)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What is signed: the image, the digests of its build, that of the report, when, and what was waived.

    created: seconds since 1970; waived: reasons, by the name of the attack that was not run.
    """

    image: ReleasedImage
    build: Build
    report_sha256: bytes
    created: int
    waived: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A release that may be believed: its statement, its report, and the ids of the keys that signed."""

    statement: Statement
    report: Report
    keyids: tuple[str, ...]


def encode(statement: Statement) -> bytes:
    """Return the canonical bytes of a statement: what is signed."""
    return strictjson.encode(
        {
            "format": FORMAT,
            "image": image_to_value(statement.image),
            "build": build_to_value(statement.build),
            "report_sha256": statement.report_sha256.hex(),
            "created": statement.created,
            "waived": dict(statement.waived),
        }
    )


def decode(payload: bytes) -> Statement:
    """Decode the canonical bytes of a statement. DecodeError on anything else.

    It believes whoever wrote it: `authenticate` comes first.
    """
    fields = Fields(strictjson.decode(payload, what=WHAT), WHAT)
    fields.constant("format", FORMAT)
    names = sorted(fields.mapping("waived"))
    if len(names) > _WAIVED:
        fields.refuse("waived", f"at most {_WAIVED} attacks")
    reasons = fields.fields("waived")
    for name in names:
        Fields({"name": name}, reasons.what).text("name", pattern=NAME, limit=80)
    statement = Statement(
        image=image_from_fields(fields.fields("image")),
        build=build_from_fields(fields.fields("build")),
        report_sha256=fields.hex("report_sha256", 32),
        created=fields.integer("created", 0, _LATEST),
        waived={name: reasons.text(name, pattern=LINE, limit=256) for name in names},
    )
    fields.done()
    if encode(statement) != payload:
        raise DecodeError(WHAT, expected="canonical JSON", found="another spelling of the same statement")
    return statement


def sign(
    report_bytes: bytes,
    build: Build,
    *,
    created: int,
    waived: Mapping[str, str],
    keys: Sequence[Ed25519PrivateKey],
) -> Envelope:
    """Sign the release of `build` on its report. ReleaseError when anything stands against it.

    Raises DecodeError on what is no report, or on a waiver that a reader would refuse.
    """
    found = report.decode(report_bytes)
    against = (*_differences(found.build, build, "the build folder"),)
    against += readiness.obstacles(found, waived=waived)
    if against:
        raise ReleaseError(against)
    payload = encode(
        Statement(
            image=found.image,
            build=build,
            report_sha256=hashlib.sha256(report_bytes).digest(),
            created=created,
            waived=waived,
        )
    )
    decode(payload)
    return dsse.sign(PAYLOAD_TYPE, payload, keys)


def authenticate(
    envelope: bytes, *, report_bytes: bytes, manifest_bytes: bytes, keys: Sequence[Ed25519PublicKey]
) -> Release:
    """Return the release that one of `keys` signed, if it is one of this manifest and on this report.

    1. The signature. 2. The report is the one that was signed. 3. The manifest is the one that was released.
    4. Nothing stands against the release: a signature does not make a breach good.
    Raises DecodeError, SignatureError, ReleaseError.
    """
    # 1
    signed = dsse.decode(envelope)
    statement = decode(dsse.authenticate(signed, keys=keys, payload_type=PAYLOAD_TYPE))
    # 2
    found = hashlib.sha256(report_bytes).digest()
    if found != statement.report_sha256:
        raise DecodeError(
            report.WHAT,
            expected=f"SHA-256 {statement.report_sha256.hex()}, as the release statement says",
            found=found.hex(),
            hint="pass the report that was published with this release",
        )
    given = report.decode(report_bytes)
    # 3
    image = manifest.decode(manifest_bytes).image
    described = Build(
        manifest_sha256=hashlib.sha256(manifest_bytes).digest(),
        uki_sha256=image.uki_sha256,
        roothash=image.roothash,
        disk_sha256=statement.build.disk_sha256,
    )
    against = (
        *_differences(statement.build, described, "the manifest"),
        *_differences(given.build, statement.build, "the release statement"),
        *_other_images(statement.image, report.image_of(image), given.image),
        # 4
        *readiness.obstacles(given, waived=statement.waived),
    )
    if against:
        raise ReleaseError(against)
    trusted = {dsse.keyid(key) for key in keys}
    names = tuple(item.keyid for item in signed.signatures if item.keyid in trusted)
    return Release(statement=statement, report=given, keyids=names)


def _differences(expected: Build, found: Build, whose: str) -> tuple[Obstacle, ...]:
    wanted, had = build_to_value(expected), build_to_value(found)
    return tuple(
        Obstacle(
            subject=f"{name} of {whose}",
            expected=wanted[name],
            found=had[name],
            hint="use report, statement, manifest and build folder of one and the same build",
        )
        for name in wanted
        if wanted[name] != had[name]
    )


def _other_images(signed: ReleasedImage, *others: ReleasedImage) -> tuple[Obstacle, ...]:
    return tuple(
        Obstacle(
            subject="image of the release",
            expected=signed.line,
            found=other.line,
            hint="use report, statement, manifest and build folder of one and the same build",
        )
        for other in others
        if other != signed
    )
