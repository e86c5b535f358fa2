# SPDX-License-Identifier: Apache-2.0
"""`mantlet release report` and `mantlet release sign`: what was found on a build, and the word that it is
released.

`report` audits the build and puts the attacks beside it. `sign` refuses a report that anything stands
against, names all of it, and writes nothing then.
"""

import argparse
import hashlib
import re
from pathlib import Path

from mantlet.cli import release_check
from mantlet.edge import files, output, release_files
from mantlet.release import readiness, report, statement, summary
from mantlet.release.audit_results import RECIPE
from mantlet.release.build import image_to_value
from mantlet.release.statement import ReleaseError
from mantlet_measure import dsse


def register(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `release report` and `release sign`."""
    made = verbs.add_parser(
        "report",
        help="audit a build, and put the attacks on it beside each rule",
        description="Audit a build folder and write one document: rules, findings, attacks, versions, "
        "digests. The same inputs give the same bytes.",
    )
    _add_build(made)
    made.add_argument("--attacks", type=Path, required=True, metavar="FILE", help="of `mantlet attack`")
    made.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the report")
    made.set_defaults(handler=make)
    signed = verbs.add_parser(
        "sign",
        help="sign that a build is released, on its report",
        description="Sign a release. Refused when anything stands against it: a breach, a control that did "
        "not work, a finding that nobody explains, an attack that was not run.",
    )
    _add_build(signed)
    signed.add_argument("--report", type=Path, required=True, metavar="FILE", help="of `release report`")
    signed.add_argument(
        "--key", type=Path, metavar="FILE", help="PEM, Ed25519: releases images (keys/release.key)"
    )
    signed.add_argument(
        "--waive",
        type=_waiver,
        action="append",
        default=[],
        metavar="ATTACK=REASON",
        help="sign that this attack was not run, and why; every verifier is shown it",
    )
    signed.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the statement")
    signed.set_defaults(handler=sign)


def make(arguments: argparse.Namespace) -> int:
    """Write the report and say in short what is in it, and what stands against a release on it."""
    output.step(f"Auditing {arguments.build}…")
    made = release_files.report_of(arguments.build, arguments.attacks)
    if RECIPE not in made.audit.looked_at:
        output.step("Left out the recipe: the build is not one of this checkout as it is committed…")
    data = report.encode(made)
    files.write_atomic(arguments.output, data)
    against = readiness.obstacles(made, waived={})
    digest = hashlib.sha256(data).hexdigest()
    if arguments.json:
        counts = summary.summary_to_value(summary.summary(made))
        lines = [obstacle.line for obstacle in against]
        output.document({"report": str(arguments.output), "sha256": digest, **counts, "against": lines})
        return 0
    output.result(f"report    {arguments.output}, SHA-256 {digest}")
    for line in summary.lines(made):
        output.result(line)
    for obstacle in against:
        output.result(f"against   {obstacle.line}")
    return 0


def sign(arguments: argparse.Namespace) -> int:
    """Sign the release and write the statement: 0 signed, 1 refused."""
    build, _ = release_files.build_of(arguments.build)
    try:
        envelope = statement.sign(
            release_files.read_report(arguments.report),
            build,
            created=release_files.now(),
            waived=dict(arguments.waive),
            keys=[release_files.signing_key(arguments.key)],
        )
    except ReleaseError as refusal:
        return release_check.refused(refusal, as_json=arguments.json)
    files.write_atomic(arguments.output, dsse.encode(envelope))
    signed = statement.decode(envelope.payload)
    if arguments.json:
        output.document(
            {
                "statement": str(arguments.output),
                "image": dict(image_to_value(signed.image)),
                "report_sha256": signed.report_sha256.hex(),
                "signed_by": [item.keyid for item in envelope.signatures],
                "waived": dict(signed.waived),
            }
        )
        return 0
    output.result(f"released  {signed.image.line}")
    output.result(f"          {arguments.output}, signed by {envelope.signatures[0].keyid}")
    for name, reason in signed.waived.items():
        output.result(f"          not tried: {name} ({reason})")
    return 0


def _add_build(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "build", type=Path, metavar="BUILD-DIR", help="a build folder, with measurements.json and disk.raw"
    )


def _waiver(text: str) -> tuple[str, str]:
    name, found, reason = text.partition("=")
    if not found or not reason.strip() or re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) is None:
        raise argparse.ArgumentTypeError(f"expected ATTACK=REASON, found {text!r}")
    return name, reason.strip()
