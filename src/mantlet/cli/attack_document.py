# SPDX-License-Identifier: Apache-2.0
"""`python -m mantlet.cli.attack_document`: print docs/attacks.md as the last report makes it, or write it.

No verb of `mantlet`: it is for who keeps the documents, in a checkout. With `--report` the report becomes the
last one, beside the document.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mantlet.edge import files, output, project, release_files
from mantlet.release import attack_document, report


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the document, or write it. Returns 0."""
    parser = argparse.ArgumentParser(
        prog="python -m mantlet.cli.attack_document", description="Tell what a release report says."
    )
    folder = project.root() / "docs"
    parser.add_argument("--report", type=Path, help="another report than docs/release-report.json")
    parser.add_argument(
        "--write", action="store_true", help="write docs/attacks.md, and the report beside it"
    )
    chosen = parser.parse_args(arguments)
    data = release_files.read_report(chosen.report or folder / release_files.REPORT_NAME)
    text = attack_document.markdown(report.decode(data))
    if chosen.write:
        files.write_atomic(folder / release_files.REPORT_NAME, data)
        files.write_atomic(folder / "attacks.md", text.encode("utf-8"))
        output.step(f"Wrote {folder / 'attacks.md'}")
    else:
        output.result(text.removesuffix("\n"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
