# SPDX-License-Identifier: Apache-2.0
"""What the agent takes to open a stream body, beside `cp` and `age -d` to the same tmpfs of huge pages.

The agent's own code runs, with the image's Python and OpenSSL, which are the tools tree's. The tmpfs is
mounted by that code too, in the mount namespace of the sandbox; all files are read out of the page cache.
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from mantlet.edge import files, project
from mantlet.edge.bench.outcome import Outcome, Samples, Unit, ratio, single
from mantlet.edge.bench.site import Site
from mantlet.edge.process import run
from mantlet.weights import stream as chunks
from mantlet_measure import strictjson
from mantlet_measure.body import Part, stream_to_value
from mantlet_measure.stream import StreamCipher, stream_key

_DATA_KEY, _ROOT_HASH = bytes(range(32)), bytes(32)
_MEGA = 1e6
# Both programs are given a file to write; the agent writes the model's.
_PROGRAM = """
import json, os, pathlib, resource, subprocess, sys, time
library, folder, rounds = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])
sys.path.insert(0, library)
from mantlet_agent import kernel
from mantlet_agent.stream_body import reader, unwrap
from mantlet_measure import body, strictjson
from mantlet_measure.stream import StreamCipher, stream_key

what = "stream"
fields = strictjson.Fields(strictjson.decode((folder / "stream.json").read_bytes(), what=what), what)
stream = body.stream_from_fields(fields, name_pattern=".+")
identity, locked = folder / "identity", folder / "model.age"
subprocess.run(["age-keygen", "-o", identity], check=True, stderr=subprocess.DEVNULL)
public = subprocess.run(["age-keygen", "-y", identity], check=True, stdout=subprocess.PIPE).stdout.strip()
subprocess.run(["age", "-r", public, "-o", locked, folder / "plain"], check=True)
memory = folder / "memory"
memory.mkdir()
kernel.mount_memory(memory, size=stream.plain_size + (64 << 20))

def ours():
    cipher = StreamCipher(stream_key(bytes(range(32)), bytes(32)), bytes(32))
    source = os.open(folder / "body", os.O_RDONLY)
    started, spent = time.monotonic(), time.process_time()
    unwrap(reader(source), stream, cipher, memory)
    taken = time.process_time() - spent, time.monotonic() - started
    os.close(source)
    return taken

def theirs(*argv):
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(argv, check=True)
    wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

sides = {
    "cp": lambda: theirs("cp", folder / "plain", memory / "copy"),
    "age": lambda: theirs("age", "-d", "-i", identity, "-o", memory / "copy", locked),
    "ours": ours,
}
idle, taken = peak(), {name: [] for name in sides}
for name in list(sides) * (rounds + 1):
    for warm in ("plain", "model.age", "body"):
        with (folder / warm).open("rb", buffering=0) as file:
            while file.readinto(warmer := bytearray(1 << 20)):
                pass
    taken[name].append(sides[name]())
    for path in memory.iterdir():
        path.unlink()
timed = {name: found[1:] for name, found in taken.items()}
print(json.dumps({"taken": timed, "grown": (peak() - idle) << 10}))
"""


def measure(site: Site) -> tuple[Outcome, ...]:
    """Open the model's body, copy its plaintext, and open it as age encrypts it, in turns."""
    folder = files.new_directory(site.folder / "streaming")
    shutil.copyfile(site.model, folder / "plain")
    _write_body(folder)
    library = project.root() / "agent" / "src"
    words = ["python3", "-IB", "-c", _PROGRAM, str(library), str(folder), str(site.rounds)]
    found = json.loads(run(site.tools.command(words, ro=[library], rw=[folder])).stdout)
    shutil.rmtree(folder)
    taken = found["taken"]
    size = f"{site.model.stat().st_size / _MEGA:.0f} MB"
    return (
        ratio(
            _side(taken, "ours", "stream body", 0),
            _side(taken, "cp", "`cp`", 0),
            name="stream",
            goal="stream-unwrap, processor time beside cp to the same huge-page tmpfs",
            bound=2.0,
            how=f"{size} out of the page cache; ours authenticates each chunk before it writes it",
        ),
        ratio(
            _side(taken, "ours", "stream body", 1),
            _side(taken, "age", "`age -d`", 1),
            name="stream-age",
            goal="stream-unwrap beside age -d to the same huge-page tmpfs: a third",
            bound=round(1 / 3, 3),
            how=f"wall clock, {size}; age with the start of its process, X25519 and ChaCha20-Poly1305",
        ),
        single(
            Samples(label="growth of the peak", unit=Unit.MEGABYTES, values=(found["grown"] / _MEGA,)),
            name="stream-mem",
            goal="stream-unwrap, memory beside that of the files",
            bound=16.0,
            how="of the agent's process, over all rounds; the files themselves are the tmpfs's",
        ),
    )


def _write_body(folder: Path) -> None:
    """Write the body of the model in `plain`, and the object that describes it."""
    stream = chunks.stream_of({"model": (folder / "plain").stat().st_size})
    cipher = StreamCipher(stream_key(_DATA_KEY, _ROOT_HASH), _ROOT_HASH)
    with (folder / "plain").open("rb") as source, (folder / "body").open("wb") as target:

        def read(part: Part, into: memoryview) -> None:
            os.preadv(source.fileno(), [into], part.offset)

        for chunk in stream.chunks():
            target.write(chunks.seal(chunk, read, cipher))
    (folder / "stream.json").write_bytes(strictjson.encode(stream_to_value(stream)))


def _side(taken: Mapping[str, Sequence[Sequence[float]]], name: str, label: str, which: int) -> Samples:
    """The processor time (0) or the wall clock (1) of a side."""
    return Samples(label=label, unit=Unit.SECONDS, values=tuple(times[which] for times in taken[name]))
