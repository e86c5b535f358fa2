# SPDX-License-Identifier: Apache-2.0
"""`mantlet ask`: verify a machine, then send it one prompt on the same connection. The answer streams to
stdout."""

import argparse
import sys

from mantlet.cli.verification import add_options, attest_telling, read_question
from mantlet.client import chat
from mantlet.edge import output
from mantlet.edge.https import AttestedConnection, address
from mantlet.verifier.result import result_to_value
from mantlet.verifier.steps import VerificationError, refusal_to_value
from mantlet_measure.evidence import State


def register(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `ask`."""
    parser = verbs.add_parser(
        "ask",
        help="verify a machine, then send it one prompt",
        description="Verify a machine, then send one prompt on that connection and stream the answer.",
    )
    parser.add_argument("machine", type=address, metavar="https://HOST:PORT", help="the machine")
    parser.add_argument("prompt", metavar="PROMPT", help="what to ask; it leaves only after the verdict")
    add_options(parser)
    parser.add_argument("--max-tokens", type=int, metavar="N", help="the longest answer, in tokens")
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Verify, then ask. The verdict goes to stderr; nothing but the answer to stdout."""
    question = read_question(arguments, expected_state=State.SERVING)
    output.step(f"Asking {arguments.machine} for evidence…")
    with AttestedConnection(arguments.machine, timeout=arguments.timeout) as connection:
        try:
            result = attest_telling(connection, question, _tell)
        except VerificationError as refusal:
            if not arguments.json:
                raise
            output.document(refusal_to_value(refusal))
            return 1
        model = result.deployment.model.id
        output.step(f"Asking {model} over the verified connection…")
        pieces: list[str] = []
        for text in chat.ask(connection, arguments.prompt, model=model, max_tokens=arguments.max_tokens):
            pieces.append(text)
            if not arguments.json:
                sys.stdout.write(text)
                sys.stdout.flush()
    if arguments.json:
        output.document({"answer": "".join(pieces), "verification": result_to_value(result)})
    else:
        output.result("")
    return 0


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
