# SPDX-License-Identifier: Apache-2.0
"""`mantlet audit`: look at a built image for ways in, without booting it."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from mantlet import __version__
from mantlet.audit import engine, page, report
from mantlet.audit.finding import Report
from mantlet.edge import audited, files, output
from mantlet.edge.audited_approvals import Given

_TEMPLATE_LIMIT = 1 << 20


def register(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `audit`."""
    parser = verbs.add_parser(
        "audit",
        help="look at a built image for ways in",
        description="Look at a disk image for ways in: without booting it, without root. "
        "Exit codes: 0 no finding, 1 findings, 2 usage, 3 could not look.",
    )
    parser.add_argument("image", type=Path, metavar="IMAGE", help="a disk with a UKI, or a build folder")
    parser.add_argument(
        "--policy",
        type=Path,
        metavar="FILE",
        help="exceptions and units of one image, by its id (default: policies/audit.yaml)",
    )
    parser.add_argument(
        "--allowed",
        type=Path,
        metavar="FILE",
        help="what that image may hold (default: policies/allowed/mantlet.yaml, without --policy)",
    )
    parser.add_argument(
        "--recipe",
        type=Path,
        metavar="DIR",
        help="the mkosi recipe that it was built of, to be looked at too",
    )
    parser.add_argument(
        "--approvals",
        type=Path,
        metavar="FILE",
        help="approvals of its boot, to be looked at too; the manifest lies beside the disk",
    )
    parser.add_argument(
        "--deployment",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="with --approvals, repeatable: the deployment document that they were given for, or its volume",
    )
    parser.add_argument(
        "--runtime",
        type=Path,
        metavar="FILE",
        help="with --approvals: the image's runtime declaration (default: this checkout's)",
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the report as one page there")
    parser.add_argument("--sarif", type=Path, metavar="FILE", help="write the report as SARIF 2.1.0 there")
    parser.set_defaults(handler=run, usage_error=parser.error)


def run(arguments: argparse.Namespace) -> int:
    """Look, judge and print: 0 no finding, 1 findings."""
    given = _given(arguments)
    policy = audited.read_policy(arguments.policy, arguments.allowed)
    if not arguments.json:
        output.step(f"Unpacking {arguments.image}…")
    with audited.opened(arguments.image, arguments.recipe, given) as image:
        found = engine.audit(image, policy)
    if arguments.html is not None:
        template = Path(page.__file__).with_name(page.TEMPLATE)
        text = files.read(template, limit=_TEMPLATE_LIMIT, what="template").decode("utf-8")
        files.write_atomic(arguments.html, page.render(found, text).encode("utf-8"))
    if arguments.sarif is not None:
        log = report.to_sarif(found, artefact=arguments.image.name, version=__version__)
        text = json.dumps(log, indent=2, ensure_ascii=False)
        files.write_atomic(arguments.sarif, f"{text}\n".encode())
    if arguments.json:
        output.document(report.to_value(found))
    else:
        for line in lines(found, verbose=arguments.verbose):
            output.result(line)
    return 1 if found.findings else 0


def _given(arguments: argparse.Namespace) -> Given | None:
    if arguments.approvals is None:
        # The twins of the others may be set for other verbs.
        return None
    if not arguments.deployment:
        arguments.usage_error("--approvals goes with --deployment: register 15 follows from the document")
    return Given(
        approvals=arguments.approvals, deployments=tuple(arguments.deployment), runtime=arguments.runtime
    )


def lines(found: Report, *, verbose: bool) -> Iterator[str]:
    """Yield the report, line by line: a finding a line, with `verbose` its mend and what is explained."""
    yield f"image     {found.image or 'without an id'}"
    yield from (f"looked at {count:6} {name}" for name, count in found.numbers.items())
    for finding in found.findings:
        yield f"{finding.severity.value:<8}  {finding.rule:<20}  {finding.subject}"
        yield f"{'':32}expected {finding.expected}, found {finding.found}"
        if verbose:
            yield f"{'':32}{finding.hint}"
    if verbose:
        for item in found.explained:
            yield f"explained {item.finding.rule:<20}  {item.finding.subject}"
            yield f"{'':32}{item.reason}"
    yield (
        f"{len(found.findings)} findings, {len(found.explained)} explained, {len(found.rules)} rules"
        if found.findings
        else f"no finding, {len(found.explained)} explained, {len(found.rules)} rules"
    )
