# SPDX-License-Identifier: Apache-2.0
"""`mantlet bench`: each stated bound on speed and size, measured here and now, with the machine's name."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from mantlet.edge import files, output, project
from mantlet.edge.bench import (
    auditing,
    computing,
    first_token,
    images,
    measuring,
    memory,
    reporting,
    sizes,
    streaming,
    unsealing,
    whole,
)
from mantlet.edge.bench.outcome import Outcome
from mantlet.edge.bench.report import Report, host, markdown, report_to_value, text_lines
from mantlet.edge.bench.site import Site

PARTS: Mapping[str, Callable[[Site], tuple[Outcome, ...]]] = MappingProxyType(
    {
        "sizes": sizes.measure,
        "predict": computing.predict,
        "predict-uki": measuring.predicting,
        "explain": measuring.explaining,
        "pack": computing.packing,
        "stream": streaming.measure,
        "unseal": unsealing.measure,
        "rebuild": images.rebuild,
        "boot": images.boot,
        "first-token": first_token.measure,
        "verify": computing.verify,
        "report": reporting.measure,
        "memory": memory.measure,
        "audit": auditing.auditing,
        "up": whole.up,
    }
)
# It takes as long as all the others together, and downloads everything anew.
_ASKED_FOR = ("up",)


def register(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `bench`."""
    parser = verbs.add_parser(
        "bench",
        help="measure speed and size against the stated bounds",
        description="Measure speed and size; exit code 1 when a bound is missed. Boots virtual machines.",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=tuple(PARTS),
        metavar="NAME",
        help=f"measure these: {', '.join(PARTS)} (default: all but {', '.join(_ASKED_FOR)})",
    )
    parser.add_argument("--rounds", type=_rounds, default=3, metavar="N", help="how often, in turns (3)")
    parser.add_argument("--model", type=Path, metavar="FILE", help="a GGUF (default: SmolLM2-135M-Instruct)")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md too")
    parser.set_defaults(handler=run, usage_error=parser.error)


def run(arguments: argparse.Namespace) -> int:
    """Measure and print: 0 when every bound was kept, 1 when one was missed."""
    whole_run = [name for name in PARTS if name not in _ASKED_FOR]
    names = arguments.only or whole_run
    if arguments.write and not set(whole_run) <= set(names):
        arguments.usage_error(f"--write takes a whole run: {', '.join(whole_run)}")
    site = Site(model=arguments.model, rounds=arguments.rounds)
    outcomes: list[Outcome] = []
    for name in PARTS:
        if name in names:
            output.step(f"Measuring {name}…")
            outcomes += PARTS[name](site)
    report = Report(host=host(site.accelerator), rounds=site.rounds, outcomes=tuple(outcomes))
    if arguments.write:
        target = project.root() / "docs" / "benchmarks.md"
        files.write_atomic(target, markdown(report).encode("utf-8"))
        output.step(f"Wrote {target}")
    if arguments.json:
        output.document(report_to_value(report))
    else:
        for line in text_lines(report):
            output.result(line)
    return 0 if all(outcome.met for outcome in outcomes) else 1


def _rounds(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 100):
        raise argparse.ArgumentTypeError(f"expected a number from 1 to 100, found {text!r}")
    return int(text)
