# SPDX-License-Identifier: Apache-2.0
"""`mantlet verify`: ask a running machine for evidence and print the verdict, step by step. Sends no
prompt."""

import argparse

from mantlet.cli import release_check
from mantlet.cli.verification import add_options, attest_telling, read_question
from mantlet.client.attest import attest
from mantlet.edge import output
from mantlet.edge.https import AttestedConnection, address
from mantlet.release.statement import ReleaseError
from mantlet.release.summary import release_lines, release_to_value
from mantlet.verifier.result import result_to_value
from mantlet.verifier.steps import VerificationError, refusal_to_value
from mantlet_measure.evidence import State


def register(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `verify`."""
    parser = verbs.add_parser(
        "verify",
        help="verify a running machine; sends no prompt",
        description="Ask a machine for evidence and print the verdict, step by step. Sends no prompt.",
    )
    parser.add_argument("machine", type=address, metavar="https://HOST:PORT", help="the machine")
    add_options(parser)
    release_check.add_options(parser)
    parser.add_argument(
        "--state",
        choices=[state.value for state in State],
        default=State.SERVING.value,
        help="the state to ask for (serving)",
    )
    parser.set_defaults(handler=run, usage_error=parser.error)


def run(arguments: argparse.Namespace) -> int:
    """Verify the machine and print the verdict: 0 accepted, 1 refused, 3 could not ask.

    With a release, that is checked first: a machine that runs what nobody released is not asked.
    """
    try:
        released = release_check.read(arguments)
    except ReleaseError as refusal:
        return release_check.refused(refusal, as_json=arguments.json)
    question = read_question(arguments, expected_state=State(arguments.state))
    output.step(f"Asking {arguments.machine} for evidence…")
    with AttestedConnection(arguments.machine, timeout=arguments.timeout) as connection:
        if not arguments.json:
            attest_telling(connection, question, output.result)
            if released is not None:
                for line in release_lines(released):
                    output.result(line)
            return 0
        try:
            accepted = result_to_value(attest(connection, question))
        except VerificationError as refusal:
            output.document(refusal_to_value(refusal))
            return 1
        if released is not None:
            accepted["release"] = release_to_value(released)
        output.document(accepted)
    return 0
