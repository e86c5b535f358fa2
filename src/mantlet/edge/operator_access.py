# SPDX-License-Identifier: Apache-2.0
"""The rules of operator access in their files: read from policies/, written to docs/ as a document.

Owns the two paths, and the command `python -m mantlet.edge.operator_access` that prints the document or, with
`--write`, replaces it. What a rule is and how it is told belongs to `mantlet.audit`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mantlet.audit import document, rules
from mantlet.edge import files, output, project, strict_yaml


def policy_file() -> Path:
    """Say where the rules are."""
    return project.root() / "policies" / "operator-access.yaml"


def document_file() -> Path:
    """Say where the document is."""
    return project.root() / "docs" / "operator-access.md"


def read() -> rules.OperatorAccess:
    """Read and decode the rules of this checkout. DecodeError, or MantletError when there are none."""
    return rules.decode(strict_yaml.read(policy_file(), what="the rules of operator access"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the document, or write it."""
    parser = argparse.ArgumentParser(
        prog="python -m mantlet.edge.operator_access", description="Tell the rules of operator access."
    )
    parser.add_argument("--write", action="store_true", help="write docs/operator-access.md")
    chosen = parser.parse_args(arguments)
    text = document.markdown(read())
    if chosen.write:
        files.write_atomic(document_file(), text.encode("utf-8"))
        output.step(f"Wrote {document_file()}")
    else:
        output.result(text.removesuffix("\n"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
