# SPDX-License-Identifier: Apache-2.0
"""`mantlet tools`: make the tools tree, or run a program in it with this checkout in sight."""

import argparse

from mantlet.edge import output, process, project, tools


def register(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `tools`."""
    parser = verbs.add_parser("tools", help="make the tools tree, or run a program in it")
    nested = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    make = nested.add_parser("make", help="make the tree if it is missing or out of date; print where it is")
    make.set_defaults(handler=_make)
    run = nested.add_parser("run", help="run a program in the tree: mantlet tools run -- PROGRAM …")
    run.add_argument(
        "command", nargs=argparse.REMAINDER, metavar="-- PROGRAM …", help="the program and its arguments"
    )
    run.set_defaults(handler=_run)


def _make(arguments: argparse.Namespace) -> int:
    tree = tools.make()
    if arguments.json:
        output.document({"root": str(tree.root), "key": tree.key})
    else:
        output.result(str(tree.root))
    return 0


def _run(arguments: argparse.Namespace) -> int:
    words = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    root = project.root()
    # The source folders, so that the tree's own Python can run our code and tests.
    paths = f"{root / 'agent' / 'src'}:{root / 'src'}"
    command = tools.ToolsTree.current().command(
        words,
        rw=[root],
        env={"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"},
        options=["--chdir", str(root)],
    )
    return process.run_through(command)
