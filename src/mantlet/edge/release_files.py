# SPDX-License-Identifier: Apache-2.0
"""What a release is made of, in files: build folder, results of the attacks, report, statement, keys.

Owns the reading, and the audit that a report is made on: it looks at the disk of that very build folder, so
that no audit of another image can stand in its place. What any of it means is `mantlet.release`'s matter.
"""

import hashlib
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from mantlet import __version__
from mantlet.audit import engine
from mantlet.audit import report as audit_report
from mantlet.edge import appraisal, audited, files, operator_access, project, recipe, release_attacks
from mantlet.edge.keys import KeyFolder
from mantlet.edge.prediction import DISK_NAME
from mantlet.edge.release_attacks import Attacked
from mantlet.release import audit_results, manifest, report, statement
from mantlet.release.audit_results import AuditResults
from mantlet.release.build import Build
from mantlet.release.reference_values import ImageIdentity
from mantlet.release.report import Promise, Report
from mantlet.release.statement import Release
from mantlet_measure import dsse
from mantlet_measure.errors import DecodeError
from mantlet_measure.strictjson import Fields

REPORT_NAME = "release-report.json"
_KEY_LIMIT = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a relying party was given of a release: statement, report, and who may sign."""

    statement: Path
    report: Path
    keys: Path


def build_of(folder: Path) -> tuple[Build, manifest.Manifest]:
    """Read the digests of a build folder, and its manifest. DecodeError when it is none."""
    data = files.read(folder / audited.MANIFEST_NAME, limit=manifest.LIMIT, what=manifest.WHAT)
    described = manifest.decode(data)
    with (folder / DISK_NAME).open("rb") as disk:
        digest = hashlib.file_digest(disk, "sha256").digest()
    build = Build(
        manifest_sha256=hashlib.sha256(data).digest(),
        uki_sha256=described.image.uki_sha256,
        roothash=described.image.roothash,
        disk_sha256=digest,
    )
    return build, described


def report_of(folder: Path, attacks: Path) -> Report:
    """Audit a build folder and its recipe, and put together what that and the attacks say of each rule.

    attacks: the results that `mantlet attack` wrote. Raises MantletError when they are of another build,
    UnavailableError when the disk cannot be looked at.
    """
    build, described = build_of(folder)
    rules = promises()
    attacked = release_attacks.read(attacks, rules=((rule.id, rule.attack) for rule in rules))
    attacked.require(report.image_of(described.image), build.manifest_sha256)
    return assembled(build, described, audit=audit_of(folder, recipe_of(described.image)), attacked=attacked)


def recipe_of(image: ImageIdentity) -> Path | None:
    """Return the recipe of this checkout if the image was built of it, else None.

    It was when its id and version are the checkout's: the version is that of the last commit of all that
    enters the image. A checkout with changes that are in no commit is nobody's recipe. ProcessError without
    git.
    """
    root = project.root()
    version, image_id = recipe.version(root).text, recipe.image_id(root)
    is_known = re.fullmatch(r"[0-9]+\.[0-9]+", version) is not None
    return root / "image" if is_known and (image.id, image.version) == (image_id, version) else None


def audit_of(folder: Path, recipe_folder: Path | None) -> AuditResults:
    """Audit the disk of a build folder, and its recipe if there is one.

    UnavailableError when the disk cannot be looked at.
    """
    with audited.opened(folder, recipe_folder) as image:
        found = audit_report.to_value(engine.audit(image, audited.read_policy(None)))
    return audit_results.from_fields(Fields(found, audit_results.WHAT))


def assembled(
    build: Build, described: manifest.Manifest, *, audit: AuditResults, attacked: Attacked
) -> Report:
    """Put together a report on a build. DecodeError on one that a reader would refuse."""
    made = Report(
        image=report.image_of(described.image),
        build=build,
        registers=report.registers_of(described),
        versions={**attacked.versions, "mantlet": __version__},
        weakened_sha256=attacked.weakened_sha256,
        rules=promises(),
        audit=audit,
        attacks=attacked.attacks,
    )
    return report.decode(report.encode(made))


def promises() -> tuple[Promise, ...]:
    """Read the rules of operator access of this checkout, as a report has them."""
    return tuple(
        Promise(
            id=rule.id,
            title=rule.title,
            kind=rule.kind.value,
            status=None if rule.closure is None else rule.closure.status.value,
            check=rule.static,
            attack=rule.attack,
        )
        for rule in operator_access.read().rules
    )


def read_report(path: Path) -> bytes:
    """Read a report, undecoded."""
    return files.read(path, limit=report.LIMIT, what=report.WHAT)


def release(given: Evidence, *, manifest_bytes: bytes) -> Release:
    """Read a release and check it against a manifest. DecodeError, SignatureError, ReleaseError."""
    return statement.authenticate(
        files.read(given.statement, limit=2 * dsse.LIMIT, what=statement.WHAT),
        report_bytes=read_report(given.report),
        manifest_bytes=manifest_bytes,
        keys=read_release_keys(given.keys),
    )


def read_release_keys(path: Path) -> tuple[Ed25519PublicKey, ...]:
    """Read the public keys that may release: concatenated PEM, Ed25519, at least one."""
    return appraisal.read_signing_keys(path, what="release keys")


def signing_key(path: Path | None) -> Ed25519PrivateKey:
    """Read the private key that releases; without a path it is the checkout's, made on first use."""
    if path is None:
        return KeyFolder(project.key_folder()).release()
    try:
        key = load_pem_private_key(files.read(path, limit=_KEY_LIMIT, what="release key"), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise DecodeError(
            f"release key {path}",
            expected="an unencrypted Ed25519 private key in PEM",
            found="something else",
            hint="name the release key with --key; `openssl genpkey -algorithm ed25519` makes one",
        )
    return key


def now() -> int:
    """Return the time for a statement: SOURCE_DATE_EPOCH where it is set, else the clock's, in seconds.

    DecodeError when it is set to something else.
    """
    text = os.environ.get("SOURCE_DATE_EPOCH")
    if text is None:
        return int(time.time())
    if re.fullmatch(r"[0-9]{1,11}", text, re.ASCII) is None:
        raise DecodeError("SOURCE_DATE_EPOCH", expected="seconds since 1970", found=repr(text))
    return int(text)
