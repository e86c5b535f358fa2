# SPDX-License-Identifier: Apache-2.0
"""`scripts/just up` in a fresh clone, and once more: what a newcomer waits for."""

import shutil
import time

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
    outcomes = []
    for name, bound, how in (
        ("up-cold", 15.0, "fresh clone of the last commit, nothing downloaded before but host packages"),
        ("up-warm", 5.0, "the same clone, a second time"),
    ):
        output.step(f"Timing {name}…")
        started = time.monotonic()
        command = [str(clone / "scripts" / "just"), "up"]
        process.run(command, cwd=clone, env={"PIP_NO_CACHE_DIR": "1"}, log=log)
        minutes = (time.monotonic() - started) / 60
        samples = Samples(label="`scripts/just up`", unit=Unit.MINUTES, values=(minutes,))
        outcomes.append(single(samples, name=name, goal=f"scripts/just up, {name[3:]}", bound=bound, how=how))
    shutil.rmtree(clone)
    return tuple(outcomes)
