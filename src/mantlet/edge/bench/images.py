# SPDX-License-Identifier: Apache-2.0
"""How long the image takes to boot and to be built again, each beside the same with less in it."""

import shutil
import time

from mantlet.edge import files, image
from mantlet.edge.bench.outcome import Outcome, ratio, take_turns
from mantlet.edge.bench.provisioning import SERVING
from mantlet.edge.bench.site import Site
from mantlet.edge.bench.variants import REACHED, plain_recipe, reference_machine


def boot(site: Site) -> tuple[Outcome, ...]:
    """Power-on to serving, of a machine that has its key, beside power-on to an empty multi-user.target."""
    theirs, ours = reference_machine(site), site.machine
    # Both have booted once before they are timed: the firmware has written its variables.
    site.power_on(theirs, REACHED)
    reached, serving = take_turns(
        site.rounds,
        ("empty multi-user.target", lambda: site.power_on(theirs, REACHED)),
        ("serving", lambda: site.power_on(ours, SERVING)),
    )
    megabytes = site.model.stat().st_size / 1e6
    how = (
        f"power-on to `serve ok` with {site.model.name} ({megabytes:.0f} MB), its key sealed before; "
        "the reference has the same kernel and initrd, no network, no weights"
    )
    goal = f"boot to serving under {site.accelerator.said}, beside an empty multi-user.target"
    return (ratio(serving, reached, name="boot", goal=goal, bound=1.5, how=how),)


def rebuild(site: Site) -> tuple[Outcome, ...]:
    """All of `mantlet build` with warm caches, beside mkosi alone with the same packages and caches."""
    folder = files.new_directory(site.folder / "rebuild")
    recipe, staging = folder / "plain-recipe", folder / "plain"
    plain_recipe(site, recipe)

    def run_ours() -> float:
        started = time.monotonic()
        image.build(keys=site.keys, tools=site.tools, folder=folder)
        return time.monotonic() - started

    def run_theirs() -> float:
        started = time.monotonic()
        image.run_mkosi(recipe, staging, tools=site.tools, log=folder / "plain.log")
        taken = time.monotonic() - started
        shutil.rmtree(staging)
        return taken

    for warm_up in (run_theirs, run_ours):
        warm_up()
    theirs, ours = take_turns(site.rounds, ("plain mkosi", run_theirs), ("`mantlet build`", run_ours))
    shutil.rmtree(folder)
    how = (
        "plain mkosi: the same packages, initrd and kernel modules, one disk with its default partitions; "
        "no file, script, signature, hash tree of ours"
    )
    goal = "image rebuild with warm caches, beside plain mkosi"
    return (ratio(ours, theirs, name="rebuild", goal=goal, bound=1.5, how=how),)
