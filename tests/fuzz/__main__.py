# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.fuzz`: fuzz each target in turn. Exit code 1 and the input in a file when one crashes."""

import argparse
import contextlib
import hashlib
import random
import resource
import sys
import traceback
from pathlib import Path

from tests.fuzz.engine import REFUSALS, Crash, Run, fuzz
from tests.fuzz.targets import TARGETS, Target

# Address space beyond what is there when fuzzing starts: two of the largest dictionary that xz may ask for,
# and what tens of small documents need.
_MEMORY = 768 << 20
_ROUNDS = 2


def main(words: list[str]) -> int:
    """Fuzz for the given time, all targets alike."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="for all targets together (600)")
    parser.add_argument(
        "--seed", type=int, default=None, help="of the random numbers (default: another each time)"
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[target.name for target in TARGETS])
    parser.add_argument("--crashes", type=Path, default=Path("build/fuzz"), help="where inputs that crash go")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="try this input alone, on --only")
    arguments = parser.parse_args(words)
    chosen = [target for target in TARGETS if not arguments.only or target.name in arguments.only]
    if arguments.replay is not None:
        for target in chosen:
            with contextlib.suppress(*REFUSALS):
                target.decode(arguments.replay.read_bytes())
        return 0
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().getrandbits(32)
    _say(f"seed {seed}, {len(chosen)} targets, {arguments.seconds:g} s")
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + _MEMORY,) * 2)
    return _fuzz(chosen, seed=seed, seconds=arguments.seconds, crashes=arguments.crashes)


def _fuzz(targets: list[Target], *, seed: int, seconds: float, crashes: Path) -> int:
    runs = [Run(target=target, rng=random.Random(f"{seed} {target.name}")) for target in targets]
    found = 0
    for _ in range(_ROUNDS):
        for run in list(runs):
            crash = fuzz(run, seconds=seconds / _ROUNDS / len(targets))
            if crash is not None:
                found += 1
                runs.remove(run)
                _tell(crash, crashes)
    for run in runs:
        _say(
            f"{run.inputs:9} inputs  {run.accepted:8} taken  {len(run.places):4} refusals  {run.target.name}"
        )
    return 1 if found else 0


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    return pages * resource.getpagesize()


def _tell(crash: Crash, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / hashlib.sha256(crash.data).hexdigest()[:16]
    path.write_bytes(crash.data)
    lines = traceback.format_exception(crash.error)
    _say("".join(lines[-6:]))
    _say(f"CRASH of {crash.target}: {path}; again with --only {crash.target!r} --replay {path}")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
