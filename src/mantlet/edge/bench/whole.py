# SPDX-License-Identifier: Apache-2.0
"""`scripts/just up` in a fresh clone, and once more: what a newcomer waits for."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from mantlet.edge import output, process, project
from mantlet.edge.bench.outcome import Outcome, Samples, Unit, single
from mantlet.edge.bench.site import Site


def up(site: Site) -> tuple[Outcome, ...]:
    """Clone what is committed, run `up` twice, once each; the host's own packages stay as they are."""
    clone = site.folder / "clone"
    shutil.rmtree(clone, ignore_errors=True)
    process.run(["git", "clone", "--quiet", str(project.root()), str(clone)])
    log = site.folder / "up.log"
    log.unlink(missing_ok=True)
    try:
        return tuple(_run(clone, log=log))
    finally:
        shutil.rmtree(clone)


def _run(clone: Path, *, log: Path) -> Iterator[Outcome]:
    for name, bound, how in (
        ("up-cold", 15.0, "fresh clone of the last commit, nothing downloaded before but host packages"),
        ("up-warm", 5.0, "the same clone, a second time"),
    ):
        output.step(f"Timing {name}…")
        command = [str(clone / "scripts" / "just"), "up"]
        started = time.monotonic()
        process.run(command, cwd=clone, env={"PIP_NO_CACHE_DIR": "1"}, log=log)
        minutes = (time.monotonic() - started) / 60
        samples = Samples(label="`scripts/just up`", unit=Unit.MINUTES, values=(minutes,))
        yield single(samples, name=name, goal=f"scripts/just up, {name[3:]}", bound=bound, how=how)
