# SPDX-License-Identifier: Apache-2.0
"""`mantlet diff`: say which registers moved between two builds or releases, and because of what."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from mantlet.edge import artefacts, observation, output
from mantlet.explain import account, inventory, known
from mantlet.explain.builds import Build, BuildDifference, changelog, difference, difference_to_value
from mantlet.explain.inventory import Item
from mantlet.explain.registers import Outcome
from mantlet.predict.uki import text as section_text

_SHOWN = 40


def register(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `diff`."""
    parser = verbs.add_parser(
        "diff",
        help="say what moved between two builds, and why",
        description="Compare two builds or releases: which registers moved, and because of what. "
        "Exit codes: 0 equal, 1 they differ, 2 usage, 3 could not ask.",
    )
    parser.add_argument("old", type=Path, metavar="A", help="a build folder, or measurements.json")
    parser.add_argument("new", type=Path, metavar="B", help="another one")
    parser.add_argument("--platform", metavar="NAME", help="the manifests' platform, when they have several")
    parser.add_argument(
        "--changelog",
        action="store_true",
        help="write the Markdown lines for the changelog's heading *Measured*",
    )
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Compare and print: 0 equal, 1 they differ."""
    found = difference(
        _build(arguments.old, platform=arguments.platform), _build(arguments.new, platform=arguments.platform)
    )
    if arguments.json:
        output.document(difference_to_value(found))
    else:
        for line in changelog(found) if arguments.changelog else lines(found, verbose=arguments.verbose):
            output.result(line)
    return 0 if found.equal else 1


def _build(path: Path, *, platform: str | None) -> Build:
    told = observation.manifest_account(path, platform=platform)
    found = artefacts.beside(path)
    keys, uki = found.read_keys(), found.read_uki()
    packages, contents = found.read_packages(), found.read_contents()
    texts = (*(known.of_keys(keys) if keys else ()), *(known.of_sections(uki) if uki else ()))
    uname = None if uki is None else uki.sections().get(".uname")
    return Build(
        account=account.with_known(told, texts),
        packages=None if packages is None else inventory.decode_packages(packages),
        units=None if contents is None else inventory.units(inventory.decode_contents(contents)),
        kernel=None if uki is None or uname is None else section_text(uki.image, uname).strip(),
        uki_size=None if uki is None else len(uki.image.data),
    )


def lines(found: BuildDifference, *, verbose: bool) -> Iterator[str]:
    """Yield the comparison, line by line; all items of long lists only with `verbose`."""
    told = found.explanation
    yield f"A  {told.expected}"
    yield f"B  {told.observed}"
    for outcome, word in ((Outcome.EQUAL, "EQUAL"), (Outcome.DIFFERS, "MOVED")):
        numbers = ", ".join(str(result.register) for result in told.of(outcome))
        if numbers:
            yield f"{word:<9}  {numbers} ({', '.join(told.banks)})"
    for number, finding in enumerate(told.findings, start=1):
        also = f" (also {', '.join(map(str, finding.registers[1:]))})" if finding.registers[1:] else ""
        yield f"{number:3}.  {finding.words}{also}"
        yield from (f"      {detail}" for detail in finding.details)
    yield from (f"{fact.name:<9}  {fact.old} became {fact.new}" for fact in found.facts)
    yield from (f"cmdline    {sentence}" for sentence in found.command_line)
    yield from _items("packages", found.packages, verbose=verbose)
    yield from _items("units", found.units, verbose=verbose)
    yield from (f"-          {text}" for text in found.unknown)


def _items(name: str, items: tuple[Item, ...], *, verbose: bool) -> Iterator[str]:
    shown = items if verbose else items[:_SHOWN]
    yield from (f"{name:<9}  {item.words}" for item in shown)
    if len(shown) < len(items):
        yield f"{name:<9}  and {len(items) - len(shown)} more: -v lists all"
