# SPDX-License-Identifier: Apache-2.0
"""`mantlet build`: the bootable image and its reference values."""

import argparse

from mantlet.edge import image, output, tools
from mantlet.edge.profile import Profile


def register(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `build`."""
    parser = verbs.add_parser(
        "build",
        help="build the image and its reference values",
        description="Build the image of this checkout; build/latest points to it when all is there.",
    )
    parser.add_argument(
        "--profile",
        type=Profile,
        choices=list(Profile),
        default=Profile.RELEASE,
        metavar="NAME",
        help="release, or debug: open on purpose, with keys of its own, at build/latest-debug (release)",
    )
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Make the tools tree if it is out of date, then build."""
    tree = tools.make()
    kind = arguments.profile
    made = image.build(keys=kind.keys(), tools=tree, kind=kind)
    sizes = {path.name: path.stat().st_size for path in sorted(made.directory.iterdir())}
    if arguments.json:
        output.document({"directory": str(made.directory), "files": sizes})
        return 0
    output.result(str(made.directory))
    for name, size in sizes.items():
        output.result(f"  {name:<20} {size:>12,}")
    return 0
