# SPDX-License-Identifier: Apache-2.0
"""What the verbs that verify a machine share: their options, and the verdict as text.

`verify`, `ask` and `weights seal` take the same options and print the same steps; none of them decides
anything.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

from mantlet.client.attest import Question, attest
from mantlet.client.transport import Transport
from mantlet.edge import appraisal
from mantlet.edge.appraisal import Files
from mantlet.release import debug_image
from mantlet.verifier.result import AttestationResult
from mantlet.verifier.steps import Outcome, StepResult, VerificationError
from mantlet_measure.evidence import State

_MARKS = {Outcome.PASS: "pass", Outcome.REFUSE: "REFUSE", Outcome.NOT_REACHED: "-"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what to compare with and whom to trust."""
    parser.add_argument(
        "--manifest", type=Path, required=True, metavar="FILE", help="the release's measurements.json"
    )
    parser.add_argument(
        "--policy",
        type=Path,
        required=True,
        metavar="FILE",
        help="an appraisal policy, in policies/appraisal",
    )
    parser.add_argument(
        "--ek-roots", type=Path, required=True, metavar="FILE", help="PEM: certificates that endorse TPMs"
    )
    parser.add_argument(
        "--deployment-key",
        type=Path,
        required=True,
        metavar="FILE",
        help="PEM: keys that may sign deployments",
    )
    parser.add_argument("--platform", metavar="NAME", help="the manifest's platform, when it has several")
    parser.add_argument(
        "--timeout",
        type=seconds_of,
        default=120.0,
        metavar="SECONDS",
        help="for each wait on the machine (120)",
    )
    add_debug_option(parser)


def add_debug_option(parser: argparse.ArgumentParser) -> None:
    """Add the option without which no verb takes a debug image."""
    parser.add_argument(
        debug_image.OPTION,
        action="store_true",
        help="take the manifest of a debug image, which anybody can enter, and of no other",
    )


def read_question(arguments: argparse.Namespace, *, expected_state: State) -> Question:
    """Read the files that the options name. DebugImageError for a debug image that was not asked for."""
    source = Files(
        manifest=arguments.manifest,
        policy=arguments.policy,
        ek_roots=arguments.ek_roots,
        deployment_key=arguments.deployment_key,
    )
    question = appraisal.question(source, platform=arguments.platform, expected_state=expected_state)
    debug_image.require_manifest(question.manifest, debug=arguments.debug_image)
    return question


def attest_telling(
    transport: Transport, question: Question, tell: Callable[[str], None]
) -> AttestationResult:
    """Verify the machine and tell every line of the verdict, accepted or refused; a refusal is raised
    again."""
    try:
        result = attest(transport, question)
    except VerificationError as refusal:
        for line in refusal_lines(refusal):
            tell(line)
        raise
    for line in result_lines(result):
        tell(line)
    return result


def result_lines(result: AttestationResult) -> Iterator[str]:
    """Yield the verdict of accepted evidence, line by line."""
    yield result.headline
    for step in result.steps:
        yield from _step_lines(step)
    model = result.deployment.model
    image = f"{result.image_id} {result.image_version}"
    yield f"ACCEPTED  image {image} on {result.platform}, state {result.state}"
    yield f"          model {model.id}, root hash {model.root_hash.hex()}"
    yield f"          TLS key {result.tls_spki_sha256.hex()}"
    yield "This proves:"
    yield from (f"  + {text}" for text in result.proves)
    yield "It does not prove:"
    yield from (f"  - {text}" for text in result.does_not_prove)


def refusal_lines(refusal: VerificationError) -> Iterator[str]:
    """Yield the verdict of refused evidence, line by line."""
    yield refusal.headline
    for step in refusal.steps:
        yield from _step_lines(step)
    yield f"REFUSED   at step {refusal.step}"


def _step_lines(step: StepResult) -> Iterator[str]:
    yield f"{step.number:3}  {_MARKS[step.outcome]:6}  {step.title}"
    if step.outcome is Outcome.PASS:
        yield f"               expected  {step.expected}"
        yield f"               observed  {step.observed}"
    for finding in step.findings:
        yield f"               {finding.subject}"
        yield f"               expected  {finding.expected}"
        yield f"               observed  {finding.observed}"


def seconds_of(text: str) -> float:
    """Read a time to wait, as an argparse type."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError(f"expected seconds, above 0 and up to 3600, found {text!r}")
    return seconds
