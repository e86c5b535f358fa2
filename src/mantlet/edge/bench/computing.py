# SPDX-License-Identifier: Apache-2.0
"""What the tool itself takes: `predict` as a command, the verifier's processor time, `pack`."""

import shutil
import sys
import time

from mantlet.edge import files, pack, process
from mantlet.edge.bench.outcome import Outcome, Samples, Unit, ratio, single, take_turns
from mantlet.edge.bench.site import LABEL, Site

_VERIFICATIONS = 10


def predict(site: Site) -> tuple[Outcome, ...]:
    """The whole command, from start to end of its process."""

    def run() -> float:
        started = time.monotonic()
        process.run([sys.executable, "-m", "mantlet", "predict", str(site.build), "--json"])
        return time.monotonic() - started

    (samples,) = take_turns(site.rounds, ("`mantlet predict`", run))
    how = "wall clock of the process, the start of Python included"
    return (single(samples, name="predict", goal="predict", bound=1.0, how=how),)


def verify(site: Site) -> tuple[Outcome, ...]:
    """The verifier over evidence of a machine that served, with what that machine answered."""
    exchange = site.exchange
    exchange.verify()
    values = []
    for _ in range(site.rounds * _VERIFICATIONS):
        started = time.process_time()
        exchange.verify()
        values.append((time.process_time() - started) * 1000)
    samples = Samples(label="verification", unit=Unit.MILLISECONDS, values=tuple(values))
    how = f"processor time of all eleven steps over {len(exchange.data):,} bytes of a live machine's evidence"
    goal = "verify, processor time without network"
    return (single(samples, name="verify", goal=goal, bound=50.0, how=how),)


def packing(site: Site) -> tuple[Outcome, ...]:
    """The pack, encrypted and described, beside the two tools alone, all in the same sandbox and folder."""
    model, tools, owner = site.model, site.tools, site.keys.owner()
    folder = files.new_directory(site.folder / "packing")
    source = folder / "source"
    source.mkdir()
    shutil.copyfile(model, source / model.name)
    ours, plain, tree = folder / "ours", folder / "plain", folder / "tree"
    sizes: dict[str, list[float]] = {"ours": [], "theirs": []}

    def run_ours() -> float:
        started = time.monotonic()
        made = pack.write(model, ours, label=LABEL, file=None, key_file=None, owner=owner, tools=tools)
        taken = time.monotonic() - started
        sizes["ours"].append(made.descriptor.model.size / 1e6)
        shutil.rmtree(ours)
        return taken

    def run_theirs() -> float:
        started = time.monotonic()
        process.run(tools.command(["mkfs.erofs", "--quiet", str(plain), str(source)], rw=[folder]))
        process.run(tools.command(["veritysetup", "format", str(plain), str(tree)], rw=[folder]))
        taken = time.monotonic() - started
        sizes["theirs"].append((plain.stat().st_size + tree.stat().st_size) / 1e6)
        plain.unlink()
        tree.unlink()
        return taken

    theirs, mine = take_turns(
        site.rounds, ("mkfs.erofs + veritysetup format", run_theirs), ("`mantlet weights pack`", run_ours)
    )
    shutil.rmtree(folder)
    how = (
        f"the same file of {model.stat().st_size / 1e6:.0f} MB; ours encrypts it and syncs it to disk besides"
    )
    goal = "pack, beside mkfs.erofs + veritysetup format"
    labels = {"ours": "the ciphertext", "theirs": "file system + hash tree"}
    image, parts = (
        Samples(label=label, unit=Unit.MEGABYTES, values=tuple(sizes[side])) for side, label in labels.items()
    )
    return (
        ratio(mine, theirs, name="pack", goal=goal, bound=2.0, how=how),
        ratio(
            image,
            parts,
            name="pack-size",
            goal="size of the pack, beside what mkfs.erofs + veritysetup format write",
            bound=1.01,
            how="what is in the partition; the disk image around it adds less than 2.1 MB to any model",
        ),
    )
