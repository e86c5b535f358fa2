# SPDX-License-Identifier: Apache-2.0
"""`mantlet explain`: say in words why registers are not what they should be."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from mantlet.cli.verification import seconds_of
from mantlet.edge import artefacts, files, observation, output
from mantlet.explain import account, known
from mantlet.explain import page as pages
from mantlet.explain.account import Account
from mantlet.explain.explanation import Explanation, explain, to_value
from mantlet.explain.registers import Outcome
from mantlet.explain.search import Known

_TEMPLATE_LIMIT = 1 << 20
_SECONDS = 120.0


def register(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `explain`."""
    parser = verbs.add_parser(
        "explain",
        help="say in words why registers differ",
        description="Compare expected registers with observed ones, and say in words why they differ. "
        "Exit codes: 0 equal, 1 they differ, 2 usage, 3 could not ask.",
    )
    parser.add_argument(
        "expected", type=Path, metavar="EXPECTED", help="measurements.json, or a build folder"
    )
    parser.add_argument(
        "observed",
        metavar="OBSERVED",
        help="https://HOST:PORT, saved evidence, a firmware event log (binary_bios_measurements), the output "
        "of tpm2_pcrread, or another EXPECTED",
    )
    parser.add_argument("--platform", metavar="NAME", help="the manifest's platform, when it has several")
    parser.add_argument(
        "--system-log", type=Path, metavar="FILE", help="systemd's tpm2-measure.log, with a firmware log"
    )
    parser.add_argument(
        "--deployment",
        type=Path,
        metavar="FILE",
        help="the signed deployment document, or the volume that holds it, for register 15",
    )
    parser.add_argument(
        "--runtime", type=Path, metavar="FILE", help="the runtime declaration in the image, for register 15"
    )
    parser.add_argument(
        "--known",
        type=Path,
        metavar="FILE",
        action="append",
        default=[],
        help="manifest of another release that the values may be of; may be repeated",
    )
    parser.add_argument("--uki", type=Path, metavar="FILE", help="the expected UKI (default: the folder's)")
    parser.add_argument(
        "--vars", type=Path, metavar="FILE", help="the expected OVMF variables (default: the folder's)"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the explanation as one page there")
    parser.add_argument(
        "--timeout",
        type=seconds_of,
        default=_SECONDS,
        metavar="SECONDS",
        help=f"for the machine ({_SECONDS:g})",
    )
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Explain and print: 0 equal, 1 they differ."""
    expected = observation.manifest_account(arguments.expected, platform=arguments.platform)
    if arguments.observed.startswith("https://") and not arguments.json:
        output.step(f"Asking {arguments.observed} for evidence…")
    observed = observation.observe(
        arguments.observed,
        platform=arguments.platform,
        system_log=arguments.system_log,
        timeout=arguments.timeout,
    )
    if arguments.deployment is not None:
        expected = observation.with_deployment(expected, arguments.deployment, observed, arguments.runtime)
    explanation = explain(*_enriched(arguments, expected, observed.account))
    if arguments.html is not None:
        template = Path(pages.__file__).with_name(pages.TEMPLATE)
        text = files.read(template, limit=_TEMPLATE_LIMIT, what="template").decode("utf-8")
        files.write_atomic(arguments.html, pages.render(explanation, text).encode("utf-8"))
    if arguments.json:
        output.document(to_value(explanation))
    else:
        for line in lines(explanation, verbose=arguments.verbose):
            output.result(line)
    return 0 if explanation.equal else 1


def _enriched(
    arguments: argparse.Namespace, expected: Account, observed: Account
) -> tuple[Account, Account, Known]:
    """Attach the texts of the artefacts at hand, and read what a search among values may need."""
    found = artefacts.beside(arguments.expected, uki=arguments.uki, variables=arguments.vars)
    keys, uki = found.read_keys(), found.read_uki()
    texts = (*(known.of_keys(keys) if keys else ()), *(known.of_sections(uki) if uki else ()))
    accounts = observation.read_known(arguments.known, platform=arguments.platform)
    if uki is None or all(held.events is not None for held in observed.registers.values()):
        return account.with_known(expected, texts), observed, Known(accounts=accounts)
    return (
        account.with_known(expected, texts),
        observed,
        Known(
            accounts=(*accounts, *known.profiles(uki, expected)),
            insertions=known.inner_kernel(uki, expected.banks),
        ),
    )


def lines(explanation: Explanation, *, verbose: bool) -> Iterator[str]:
    """Yield the explanation, line by line."""
    banks = ", ".join(explanation.banks)
    yield f"expected  {explanation.expected}"
    yield f"observed  {explanation.observed}"
    yield from (f"note      {note}" for note in explanation.notes)
    for outcome, word in ((Outcome.EQUAL, "EQUAL"), (Outcome.DIFFERS, "DIFFERS")):
        numbers = ", ".join(str(result.register) for result in explanation.of(outcome))
        if numbers:
            yield f"{word:<8}  {numbers} ({banks})"
    for result in explanation.of(Outcome.NOT_COMPARED):
        yield f"{'-':<8}  {result.register}: {result.note}"
    for number, finding in enumerate(explanation.findings, start=1):
        also = f" (also {', '.join(map(str, finding.registers[1:]))})" if finding.registers[1:] else ""
        yield f"{number:3}.  {finding.words}{also}"
        yield from (f"      {detail}" for detail in finding.details)
    if verbose:
        yield from _pairs(explanation)


def _pairs(explanation: Explanation) -> Iterator[str]:
    for result in explanation.of(Outcome.DIFFERS):
        yield f"register {result.register} ({result.title})"
        for pair in result.pairs:
            entry = pair.observed or pair.entry
            digest = next(iter(entry.digests.values())).hex()[:16]
            yield f"  {pair.number:3}  {pair.change.value:<8} {digest}…  {pair.entry.subject.words}"
