# SPDX-License-Identifier: Apache-2.0
"""`python -m mantlet.cli.operator_access`: print docs/operator-access.md as the rules make it, or write it.

No verb of `mantlet`: it is for who changes the rules, in a checkout.
"""

import argparse
from collections.abc import Sequence

from mantlet.audit import document
from mantlet.edge import files, operator_access, output


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the document, or write it. Returns 0."""
    parser = argparse.ArgumentParser(
        prog="python -m mantlet.cli.operator_access", description="Tell the rules of operator access."
    )
    parser.add_argument("--write", action="store_true", help="write docs/operator-access.md")
    chosen = parser.parse_args(arguments)
    text = document.markdown(operator_access.read())
    if chosen.write:
        target = operator_access.document_file()
        files.write_atomic(target, text.encode("utf-8"))
        output.step(f"Wrote {target}")
    else:
        output.result(text.removesuffix("\n"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
