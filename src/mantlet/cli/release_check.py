# SPDX-License-Identifier: Apache-2.0
"""The options that hold a machine against a signed release, and how what stands against one is told.

`verify` takes them and `release sign` tells refusals in the same words; neither decides anything here.
"""

import argparse
from pathlib import Path

from mantlet.edge import files, output, release_files
from mantlet.edge.release_files import Evidence
from mantlet.release import manifest
from mantlet.release.statement import Release, ReleaseError


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a release: its statement, its report, and who may sign it."""
    parser.add_argument(
        "--release", type=Path, metavar="FILE", help="the signed release of --manifest; shows its report"
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="with --release: the report of it")
    parser.add_argument(
        "--release-key", type=Path, metavar="FILE", help="with --release: PEM, keys that may release"
    )


def read(arguments: argparse.Namespace) -> Release | None:
    """Read and check the release that the options name, against the manifest; None when they name none.

    Only some of the options are a usage error. Raises what `statement.authenticate` raises.
    """
    given = (arguments.release, arguments.report, arguments.release_key)
    if given == (None, None, None):
        return None
    if None in given:
        arguments.usage_error("--release, --report and --release-key go together")
    data = files.read(arguments.manifest, limit=manifest.LIMIT, what=manifest.WHAT)
    evidence = Evidence(statement=arguments.release, report=arguments.report, keys=arguments.release_key)
    return release_files.release(evidence, manifest_bytes=data)


def refused(refusal: ReleaseError, *, as_json: bool) -> int:
    """Tell all that stands against a release. Returns 1."""
    if as_json:
        error = {"message": refusal.message, "hint": refusal.hint, "exit": 1}
        against = [{"what": item.line, "hint": item.hint} for item in refusal.obstacles]
        output.document({"error": error, "against": against})
        return 1
    for obstacle in refusal.obstacles:
        output.result(f"against   {obstacle.line}")
        output.result(f"          {obstacle.hint}")
    output.error(refusal.message, hint=refusal.hint)
    return 1
