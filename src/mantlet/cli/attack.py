# SPDX-License-Identifier: Apache-2.0
"""`mantlet attack`: attack copies of a machine as an operator would, and judge from outside."""

import argparse
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mantlet.attack import catalogue, document
from mantlet.attack.document import Outcome, Results
from mantlet.attack.judge import Verdict
from mantlet.attack.model import Attack
from mantlet.edge import files, image, operator_access, output, project
from mantlet.edge.attack import site
from mantlet.edge.attack.run import by_attack
from mantlet.edge.profile import Profile

# The boot of an attack may take so many plain boots; the control is another.
_BOUND = 1.3


def register(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `attack`."""
    parser = verbs.add_parser(
        "attack",
        help="attack a build as its operator would, from outside",
        description="Boot copies of a machine under attack, and the same where one thing is weaker, which "
        "must give way. Exit code 1 on a breach or a void control, 3 where an attack could not be tried.",
    )
    parser.add_argument("build", nargs="?", type=Path, metavar="BUILD-DIR", help="default: build/latest")
    parser.add_argument(
        "--weakened", type=Path, metavar="DIR", help="the weakened build (default: build/latest-debug)"
    )
    parser.add_argument(
        "--weakened-keys", type=Path, metavar="DIR", help="its keys (default: debug/ in the folder of keys)"
    )
    parser.add_argument("--only", nargs="+", default=(), metavar="ID", help="these attacks, by id or by name")
    parser.add_argument("--fast", action="store_true", help="the quick subset")
    parser.add_argument("--resume", action="store_true", help="take finished attacks from an earlier run")
    parser.add_argument(
        "--jobs",
        type=_jobs,
        default=max(1, len(os.sched_getaffinity(0)) // 2),
        metavar="N",
        help="machines at the same time (one for every two processors)",
    )
    parser.add_argument("--list", action="store_true", help="list the attacks and run none")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the results there too")
    parser.set_defaults(handler=run, usage_error=parser.error)


def run(arguments: argparse.Namespace) -> int:
    """Attack: 0 when every attack failed and every control worked, 1 when not, 3 when one was not tried."""
    attacks = catalogue.chosen(only=arguments.only, fast=arguments.fast)
    known = {name for attack in catalogue.CATALOGUE for name in (attack.id, attack.name)}
    if unknown := sorted(set(arguments.only) - known) or not attacks:
        arguments.usage_error(f"no attack is called {unknown}; `mantlet attack --list` names them")
    rules = by_attack((rule.id, rule.attack) for rule in operator_access.read().rules)
    if arguments.list:
        _list(attacks, rules=rules, as_json=arguments.json)
        return 0
    weakened = arguments.weakened or project.build_folder() / Profile.DEBUG.link
    keys = arguments.weakened_keys or Profile.DEBUG.keys().folder
    battery = site.battery(arguments.build or image.latest(), weakened, weakened_keys=keys, rules=rules)
    outcomes = battery.run(attacks, resume=arguments.resume, jobs=arguments.jobs)
    results = site.results(battery, outcomes)
    target = arguments.output or battery.folder / "attacks.json"
    files.write_atomic(target, document.encode(results))
    output.step(f"Wrote {target}")
    _print(results, as_json=arguments.json)
    if any(outcome.verdict in (Verdict.BREACH, Verdict.VOID) for outcome in outcomes):
        return 1
    return 0 if results.accepted else 3


def _list(attacks: Sequence[Attack], *, rules: Mapping[str, tuple[str, ...]], as_json: bool) -> None:
    if as_json:
        output.document(
            [
                {
                    "id": each.id,
                    "name": each.name,
                    "title": each.title,
                    "rules": list(rules.get(each.name, ())),
                }
                for each in attacks
            ]
        )
        return
    for each in attacks:
        output.result(f"{each.id:26} {' '.join(rules.get(each.name, ())):40} {each.title}")


def _print(results: Results, *, as_json: bool) -> None:
    if as_json:
        output.document(document.to_value(results))
        return
    for outcome in results.outcomes:
        output.result(_row(outcome))
    counted = {
        verdict: sum(outcome.verdict is verdict for outcome in results.outcomes) for verdict in Verdict
    }
    output.result(", ".join(f"{count} {verdict.value}" for verdict, count in counted.items() if count))
    for line in _pace(results):
        output.result(line)


def _pace(results: Results) -> Iterator[str]:
    """Say how long attacks took, in plain boots, and which took longer than they may."""
    plain, count = max(results.plain_seconds, 1), len(results.outcomes)
    mean = sum(outcome.seconds for outcome in results.outcomes) / count
    control = sum(outcome.control_seconds for outcome in results.outcomes) / count
    yield (
        f"{mean:.0f} s an attack, {mean / plain:.2f} plain boots of {results.plain_seconds} s; "
        f"its control and judgement {control:.0f} s more"
    )
    if slow := [each.id for each in results.outcomes if each.seconds > _BOUND * plain]:
        yield f"more than {_BOUND} plain boots: {', '.join(slow)}"


def _row(outcome: Outcome) -> str:
    why = f"  {outcome.reasons[0]}" if outcome.reasons else ""
    control = "" if outcome.control_verdict is None else f"control {outcome.control_verdict.value}"
    return f"{outcome.verdict.value:12} {outcome.id:26} {control:20} {outcome.seconds:4} s{why}"


def _jobs(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 64):
        raise argparse.ArgumentTypeError(f"expected a number from 1 to 64, found {text!r}")
    return int(text)
