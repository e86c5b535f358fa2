# SPDX-License-Identifier: Apache-2.0
"""What prediction, explanation and replay take, beside others' programs on the same bytes in the same run.

The UKI is the build's with a larger initrd, signed with this checkout's key. The log is the recorded one of
the tests, whose events are repeated, in one bank more, until it is as long as logs of real machines are.
"""

import base64
import json
import sys
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from mantlet.edge import files, observation, process, project
from mantlet.edge.bench.outcome import Outcome, Samples, Unit, ratio, single, take_turns
from mantlet.edge.bench.site import Site
from mantlet.explain.explanation import explain, to_value
from mantlet.predict import archive, pe, uki
from mantlet_measure.eventlog import decode_firmware_log, encode_firmware_log
from mantlet_measure.pcr import Bank, replay_events

_UKI_SIZE = 60_000_000
_LOG_SIZE = 34_000
_LOG_BANKS = (Bank.SHA1, Bank.SHA256, Bank.SHA384)
_REPEATED = 20
_MEGA = 1e6
_STUB = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"
_SECTIONS = {
    ".linux": "linux",
    ".osrel": "os-release",
    ".cmdline": "cmdline",
    ".uname": "uname",
    ".initrd": "initrd",
}
_TARGET = archive.Target(directory="bench", directory_mode=0o040555, file_mode=0o100444)
# Linux, Documentation/filesystems/proc.rst: VmHWM is the peak of resident pages, mapped files included.
_PEAK = """
import contextlib, io, sys
from mantlet.cli import main
with contextlib.redirect_stdout(io.StringIO()):
    assert main(sys.argv[1:]) == 0
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Large:
    """A signed UKI, and the files that its sections were made of."""

    image: Path
    sections: dict[str, Path]


class _Materials:
    """What both parts look at, made when it is first asked for."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.folder = files.new_directory(site.folder / "measuring")

    @cached_property
    def uki(self) -> _Large:
        """A UKI of 60 MB: the build's sections, and behind its initrd an archive that does not compress."""
        decoded = uki.decode(files.read(self.site.build / "uki.efi", limit=pe.LIMIT, what=uki.WHAT))
        missing = _UKI_SIZE - len(decoded.image.data)
        # Nothing that repeats within a window of any compressor, and the same in each run.
        filling = b"".join(Bank.SHA512.digest(number.to_bytes(8, "big")) for number in range(missing // 64))
        sections = {}
        for name, option in _SECTIONS.items():
            path = self.folder / option
            content = decoded.image.content(decoded.sections()[name])
            behind = archive.archive(_TARGET, (("filling", filling),)) if option == "initrd" else ()
            path.write_bytes(b"".join((content, bytes(-len(content) % 4 if behind else 0), *behind)))
            sections[option] = path
        return _Large(image=self._signed(sections), sections=sections)

    def _signed(self, sections: dict[str, Path]) -> Path:
        image, keys = self.folder / "large.efi", self.site.keys.folder
        key, certificate = keys / "db.key", keys / "db.pem"
        given = {
            option: f"@{path}" if option in ("os-release", "cmdline", "uname") else str(path)
            for option, path in sections.items()
        }
        # ukify takes no file for the release of the kernel.
        given["uname"] = sections["uname"].read_text("ascii")
        argv = [
            *("ukify", "build", f"--stub={_STUB}", f"--output={image}"),
            *(f"--{option}={value}" for option, value in given.items()),
            *("--signtool=systemd-sbsign", "--no-sign-kernel", f"--secureboot-private-key={key}"),
            f"--secureboot-certificate={certificate}",
        ]
        process.run(self.site.tools.command(argv, ro=[key, certificate], rw=[self.folder]))
        return image

    @cached_property
    def log(self) -> Path:
        """A firmware log of 34 kB in three banks."""
        recorded = json.loads((project.root() / "tests/unit/measure/data/qemu-ovmf.json").read_text("ascii"))
        events = decode_firmware_log(base64.b64decode(recorded["firmware_log"])).events
        # The bank that the recorded machine had off: events that tell what was hashed have its digest.
        wider = tuple(
            replace(event, digests={Bank.SHA1: Bank.SHA1.digest(event.claimed_data), **event.digests})
            for event in events
        )
        repeated = wider
        while len(data := encode_firmware_log(repeated, banks=_LOG_BANKS, startup_locality=0)) < _LOG_SIZE:
            repeated = (*repeated, *wider[len(repeated) % len(wider) :][:4])
        path = self.folder / "binary_bios_measurements"
        path.write_bytes(data)
        return path


def predicting(site: Site) -> tuple[Outcome, ...]:
    """`mantlet predict` of all registers in both banks, beside reading and hashing the file once a bank."""
    materials = _Materials(site)
    large = materials.uki
    words = [str(large.image), "--vars", str(site.build / "OVMF_VARS.fd"), "--json"]

    def ours() -> float:
        return _timed([sys.executable, "-m", "mantlet", "predict", *words])

    def sums() -> float:
        return _timed(["sha256sum", str(large.image)]) + _timed(["sha384sum", str(large.image)])

    def others() -> float:
        given = [f"--{name.replace('os-release', 'osrel')}={path}" for name, path in large.sections.items()]
        argv = ["/usr/lib/systemd/systemd-measure", "calculate", *given, "--bank=sha256", "--bank=sha384"]
        return _timed(site.tools.command(argv, rw=[materials.folder]))

    summed, measured, predicted = take_turns(
        site.rounds,
        ("sha256sum + sha384sum", sums),
        ("`systemd-measure`, register 11 alone", others),
        ("`mantlet predict`", ours),
    )
    size = large.image.stat().st_size
    how = f"a signed UKI of {size / _MEGA:.1f} MB; whole processes, the start of Python included"
    goal = "predict, all registers in two banks, beside hashing the file once in each"
    found = ratio(predicted, summed, name="predict-uki", goal=goal, bound=3.0, how=how)
    peak = process.run([sys.executable, "-c", _PEAK, "predict", *words]).stdout
    resident = Samples(label="VmHWM", unit=Unit.RATIO, values=(int(peak) * 1024 / size,))
    return (
        replace(found, samples=(*found.samples, measured)),
        single(
            resident,
            name="predict-memory",
            goal="predict, peak memory beside the size of the UKI",
            bound=2.0,
            how="resident pages of the process, Python and the mapped UKI included",
        ),
    )


def explaining(site: Site) -> tuple[Outcome, ...]:
    """Explanation of a long log against the build's reference values, and replay of that log."""
    materials = _Materials(site)
    data = materials.log.read_bytes()
    log = decode_firmware_log(data)
    told, replayed = [], []
    manifest = site.build
    for _ in range(site.rounds * _REPEATED):
        started = time.process_time()
        expected = observation.manifest_account(manifest, platform=None)
        observed = observation.observe(str(materials.log), platform=None, system_log=None, timeout=1.0)
        to_value(explain(expected, observed.account))
        told.append((time.process_time() - started) * 1000)
        started = time.process_time()
        for bank in log.banks:
            replay_events(bank, log.events)
        replayed.append((time.process_time() - started) * 1000 / len(log.events) * 100)
    argv = site.tools.command(["tpm2_eventlog", str(materials.log)], ro=[materials.log])
    (theirs,) = take_turns(site.rounds, ("`tpm2_eventlog`, a process", lambda: _timed(argv)))
    what = f"{len(log.events)} events in {len(log.banks)} banks, {len(data):,} bytes"
    explained = single(
        Samples(label="explanation", unit=Unit.MILLISECONDS, values=tuple(told)),
        name="explain",
        goal="explain a long log, processor time",
        bound=20.0,
        how=f"{what}, read, decoded, compared and told as JSON",
    )
    replaying = single(
        Samples(label="replay", unit=Unit.MILLISECONDS, values=tuple(replayed)),
        name="replay",
        goal="replay, processor time for 100 events",
        bound=1.0,
        how=f"{what}, all banks",
    )
    return (replace(explained, samples=(*explained.samples, theirs)), replaying)


def _timed(argv: list[str]) -> float:
    started = time.monotonic()
    process.run(argv)
    return time.monotonic() - started
