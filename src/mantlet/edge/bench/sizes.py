# SPDX-License-Identifier: Apache-2.0
"""How large the image is."""

from mantlet.edge.bench.outcome import Outcome, Samples, Unit, single
from mantlet.edge.bench.site import Site

_MEGA = 1e6


def measure(site: Site) -> tuple[Outcome, ...]:
    """Disk and UKI."""
    goals = (
        ("disk", "disk.raw", "disk without weights", 200.0, "ESP, root, hash tree and signature"),
        ("uki", "uki.efi", "UKI", 35.0, "kernel, initrd, stub, signed"),
    )
    outcomes = []
    for name, file, goal, bound, how in goals:
        size = (site.build / file).stat().st_size / _MEGA
        samples = Samples(label=file, unit=Unit.MEGABYTES, values=(size,))
        outcomes.append(single(samples, name=name, goal=goal, bound=bound, how=how))
    return tuple(outcomes)
