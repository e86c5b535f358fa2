# SPDX-License-Identifier: Apache-2.0
"""How long the static audit of the build takes, and how much memory it and the programs that it runs hold."""

import sys
import time

from mantlet.edge import process, project
from mantlet.edge.bench.outcome import Outcome, Samples, Unit, single
from mantlet.edge.bench.site import Site

# getrusage(2): the peak of the largest child, in KiB as that of the process itself.
_AUDIT = """
import contextlib, io, resource, sys
from mantlet.cli import main
with contextlib.redirect_stdout(io.StringIO()):
    code = main(sys.argv[1:])
ours = int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
print(code, max(ours, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
"""


def auditing(site: Site) -> tuple[Outcome, ...]:
    """`mantlet audit` of the build and its recipe, whole processes, once a round."""
    words = ["audit", str(site.build), "--recipe", str(project.root() / "image"), "--json"]
    seconds, megabytes = [], []
    for _ in range(site.rounds):
        started = time.monotonic()
        told = process.run([sys.executable, "-c", _AUDIT, *words]).stdout.split()
        seconds.append(time.monotonic() - started)
        megabytes.append(int(told[1]) * 1024 / 1e6)
    how = "the whole process, the start of Python and the unpacking of root and initrd included"
    took = Samples(label="`mantlet audit`", unit=Unit.SECONDS, values=tuple(seconds))
    held = Samples(label="`mantlet audit`, peak", unit=Unit.MEGABYTES, values=tuple(megabytes))
    return (
        single(took, name="audit", goal="static audit of the image", bound=20.0, how=how),
        single(
            held,
            name="audit-memory",
            goal="static audit of the image, peak memory",
            bound=500.0,
            how="resident pages, the mapped disk included, of it or of the largest program that it runs",
        ),
    )
