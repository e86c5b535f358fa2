# SPDX-License-Identifier: Apache-2.0
"""From the cap to the first token, out of the sealed pack and out of a plain erofs of the same model.

The clock starts when the line `cap ok` is seen: the key is there and nothing of the weights has been read.
It stops when the first text of a streamed completion has come over the front. In between lie the mappings,
the mount, the runtime's start over its lazily mapped model, the front, one prompt. The plain machine has the
same image but for the one function of its agent that opens the weights, and a key that it does not use.
"""

import time
from pathlib import Path

from mantlet.client import chat
from mantlet.edge import pack_disk, pack_open
from mantlet.edge.bench.outcome import Outcome, ratio, take_turns
from mantlet.edge.bench.provisioning import BOOT_SECONDS, SERVING, connect
from mantlet.edge.bench.site import Site
from mantlet.edge.bench.variants import plain_image
from mantlet.edge.chunks import CHUNK
from mantlet.edge.machine import Line, Machine
from mantlet.edge.pack_files import Pack, read_key
from mantlet.weights.disk import PARTITION_OFFSET

_CAPPED = Line("cap", "ok")
# Both moments are read off the serial port: what is seen late must be little beside what is measured.
_POLL = 0.01
_PROMPT = "Hello"


def measure(site: Site) -> tuple[Outcome, ...]:
    """Boot both machines in turns, each after the boot that provisioned it."""
    weights = site.folder / "plain-weights.raw"
    _write_plain(site.pack, weights)
    plain, _ = site.provisioned("plain", build=plain_image(site), weights=weights)
    ours = site.machine
    theirs, mine = take_turns(
        site.rounds,
        ("plain erofs", lambda: _first_token(plain, site.pack)),
        ("sealed pack", lambda: _first_token(ours, site.pack)),
    )
    weights.unlink()
    megabytes = site.model.stat().st_size / 1e6
    how = (
        f"from `cap ok` to the first text of a streamed completion over the front, {site.model.name} "
        f"({megabytes:.0f} MB); the disks in the host's page cache; the plain machine's image differs in one "
        "function"
    )
    goal = f"time to first token under {site.accelerator.said}, beside a plain erofs of the same model"
    return (ratio(mine, theirs, name="first-token", goal=goal, bound=1.3, how=how),)


def _first_token(machine: Machine, pack: Pack) -> float:
    """Boot a machine that has its key and ask it at once; return the seconds from the cap to the answer."""
    with machine:
        capped = _seen(machine, _CAPPED)
        _seen(machine, SERVING)
        with connect(machine) as connection:
            next(chat.ask(connection, _PROMPT, model=pack.descriptor.model.id, max_tokens=1))
            return machine.elapsed - capped


def _seen(machine: Machine, line: Line) -> float:
    """Wait closely for a line of the agent; return the seconds since power-on. BootError, as `wait_for`."""
    while line not in machine.lines() and machine.is_on() and machine.elapsed < BOOT_SECONDS:
        time.sleep(_POLL)
    seen = machine.elapsed
    machine.wait_for(line, seconds=BOOT_SECONDS)
    return seen


def _write_plain(pack: Pack, disk: Path) -> None:
    """Write the pack's disk image with the plaintext in it: erofs, and a hash tree that nobody reads."""
    model = pack.descriptor.model
    body = pack_open.body_of(pack.image, pack.descriptor, read_key(pack.key_file))
    pack_disk.prepare(disk, model)
    with disk.open("r+b") as file:
        file.seek(PARTITION_OFFSET)
        for start in range(0, model.size, CHUNK):
            file.write(body.verified(start, min(CHUNK, model.size - start)))
