# SPDX-License-Identifier: Apache-2.0
"""A virtual machine with Secure Boot, SMM and a TPM: QEMU, OVMF and swtpm, and one folder of state.

The folder keeps what a real machine keeps: the TPM and the firmware's variables. Everything known about a
boot comes from outside: the agent's lines on the first serial port, the TPM's log, the network.
"""

import re
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from mantlet.edge import accelerator, software_tpm
from mantlet.edge.accelerator import Accelerator
from mantlet.edge.process import Running
from mantlet.edge.software_tpm import Authority
from mantlet.edge.tools import ToolsTree
from mantlet_measure.errors import MantletError, UnavailableError

# The first one may stand where systemd-stub has left off: behind the colours that it goes back to.
_LINE = re.compile(rb"^(?:\x1b\[[0-9;]*m)*mantlet ([a-z]+) ([a-z0-9-]+)\r?$", re.MULTILINE)
_POLL = 0.2


class BootError(MantletError):
    """The machine did not come to where it was wanted."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the agent: a stage and what became of it."""

    stage: str
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What the machine is made of. Disks are given to it in the order of the fields."""

    disk: Path
    variables: Path
    deployment: Path | None = None
    weights: Path | None = None
    memory_mib: int = 2048
    processors: int = 2
    # Whether what the guest starts gets out, through the host; a machine that fetches its weights needs it.
    way_out: bool = False
    # Further options of QEMU's own network, each with a comma before it: what its DHCP says.
    network: str = ""
    tpm: bool = True
    # Whether firmware and guest may write to the image's disk, as to a volume in a cloud.
    disk_writable: bool = False
    # Further words for QEMU, before the disks and last, and folders that they need: what somebody adds.
    before: Sequence[str] = ()
    extra: Sequence[str] = ()
    extra_folders: Sequence[Path] = ()


@dataclass(slots=True)
class Machine:
    """One boot of a machine whose state is in `folder`. A context manager: leaving it powers off."""

    folder: Path
    hardware: Hardware
    tools: ToolsTree
    authority: Authority
    accelerator: Accelerator
    port: int = 0
    _started: float = field(default=0.0, init=False)
    _running: list[Running] = field(default_factory=list, init=False)
    _sockets: Path | None = field(default=None, init=False)
    _told: int = field(default=0, init=False)

    @property
    def serial(self) -> Path:
        """What the first serial port said in this boot."""
        return self.folder / "serial.log"

    @property
    def trace(self) -> Path:
        """Every command that the TPM got in this boot."""
        return self.folder / "tpm.trace"

    @property
    def elapsed(self) -> float:
        """Seconds since power-on."""
        return time.monotonic() - self._started

    def __enter__(self) -> "Machine":
        """Power on."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        variables = self.folder / "OVMF_VARS.fd"
        if not variables.exists():
            shutil.copyfile(self.hardware.variables, variables)
        if self.hardware.tpm:
            software_tpm.make(self.folder / "tpm", authority=self.authority, tools=self.tools)
        self.port = self.port or _free_port()
        # Unix sockets have short names only.
        self._sockets = Path(tempfile.mkdtemp(prefix="mantlet-"))
        control = self._sockets / "tpm"
        log = self.folder / "qemu.log"
        log.write_bytes(b"")
        self.serial.write_bytes(b"")
        self._told = 0
        self._started = time.monotonic()
        try:
            if self.hardware.tpm:
                tpm = software_tpm.start(
                    self.folder / "tpm", socket=control, trace=self.trace, log=log, tools=self.tools
                )
                self._running.append(tpm)
                _wait_for_socket(control, tpm)
            self._running.insert(0, Running(self._command(control, variables), log=log))
        except BaseException:
            self.power_off()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Power off."""
        self.power_off()

    def power_off(self) -> None:
        """Pull the plug."""
        for running in self._running:
            running.stop()
        self._running.clear()
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)

    @property
    def monitor(self) -> Path:
        """QEMU's machine protocol socket."""
        if self._sockets is None:
            raise BootError("the machine is off", hint="ask for the monitor while it runs")
        return self._sockets / "qmp"

    def is_on(self) -> bool:
        """Whether it still runs."""
        return bool(self._running) and self._running[0].returncode is None

    def check_end(self) -> None:
        """Refuse an end that was not the guest's doing. BootError, with QEMU's last words."""
        code = self._running[0].returncode if self._running else None
        if code:
            raise BootError(
                f"expected QEMU to run until the machine powers off, found its exit code {code}:\n"
                f"{self._running[0].last_words()}",
                hint=f"mend what it names; all that it said is in {self.folder / 'qemu.log'}",
            )

    def lines(self) -> tuple[Line, ...]:
        """The agent's lines so far."""
        found = _LINE.findall(self.serial.read_bytes())
        return tuple(Line(stage.decode(), code.decode()) for stage, code in found)

    def wait_for(
        self,
        wanted: Line,
        *,
        seconds: float,
        tell: Callable[[float, Line], None] = lambda _elapsed, _line: None,
    ) -> None:
        """Wait for a line of the agent, telling each new one.

        BootError when the machine is off or the time over before it.
        """
        while True:
            on = self.is_on()
            lines = self.tell_new(tell)
            if wanted in lines:
                return
            last = f"{lines[-1].stage} {lines[-1].code}" if lines else "no line of the agent"
            if not on:
                words = self._running[0].last_words() if self._running else ""
                raise BootError(
                    f"expected `{wanted.stage} {wanted.code}`, found the machine off after: {last}\n{words}",
                    hint=f"what the codes say is in docs/formats.md; the serial port's log is {self.serial}",
                )
            if self.elapsed > seconds:
                raise BootError(
                    f"expected `{wanted.stage} {wanted.code}` within {seconds:.0f} s, found: {last}",
                    hint=f"is the host busy? The serial port's log is {self.serial}",
                )
            time.sleep(_POLL)

    def tell_new(self, tell: Callable[[float, Line], None]) -> tuple[Line, ...]:
        """Tell the lines not yet told in this boot, each with the seconds since power-on; return all."""
        lines = self.lines()
        for line in lines[self._told :]:
            tell(self.elapsed, line)
        self._told = len(lines)
        return lines

    def wait_until_off(self, *, seconds: float) -> None:
        """Wait until it powers off by itself. BootError when it does not."""
        while self.is_on():
            if self.elapsed > seconds:
                raise BootError(
                    f"expected the machine to power off within {seconds:.0f} s, found it running",
                    hint=f"the serial port's log is {self.serial}",
                )
            time.sleep(_POLL)

    def _command(self, control: Path, variables: Path) -> list[str]:
        hardware = self.hardware
        restrict = "off" if hardware.way_out else "on"
        forward = f"hostfwd=tcp:127.0.0.1:{self.port}-:443"
        words = [
            *("qemu-system-x86_64", *accelerator.machine_words(), *self.accelerator.words),
            *("-m", str(hardware.memory_mib), "-smp", str(hardware.processors)),
            *("-drive", f"if=pflash,unit=1,format=raw,file={variables}"),
            *(_tpm(control) if hardware.tpm else ()),
            *hardware.before,
            *_disk("root", hardware.disk, writable=hardware.disk_writable, boot=True),
        ]
        if hardware.deployment is not None:
            words += _disk("deployment", hardware.deployment, writable=True)
        if hardware.weights is not None:
            words += _disk("weights", hardware.weights, writable=False)
        words += [
            # `restrict`: nothing that the guest starts gets out; what we forward gets in.
            *("-netdev", f"user,id=net,restrict={restrict},{forward}{hardware.network}"),
            *("-device", "virtio-net-pci,netdev=net,romfile="),
            *("-chardev", f"file,id=serial,path={self.serial}", "-serial", "chardev:serial"),
            *("-qmp", f"unix:{control.with_name('qmp')},server=on,wait=off", *hardware.extra),
        ]
        disks = [] if hardware.weights is None else [hardware.weights]
        writable = [self.folder, control.parent, *hardware.extra_folders]
        (writable if hardware.disk_writable else disks).append(hardware.disk)
        if hardware.deployment is not None:
            writable.append(hardware.deployment)
        options = accelerator.sandbox_options(self.accelerator)
        return self.tools.command(words, ro=disks, rw=writable, options=options)


def _tpm(control: Path) -> list[str]:
    return [
        *("-chardev", f"socket,id=tpm,path={control}", "-tpmdev", "emulator,id=tpm0,chardev=tpm"),
        *("-device", "tpm-crb,tpmdev=tpm0"),
    ]


def _disk(name: str, path: Path, *, writable: bool, boot: bool = False) -> list[str]:
    mode = "cache=writethrough" if writable else "readonly=on"
    index = ",bootindex=1" if boot else ""
    return [
        *("-drive", f"if=none,id={name},format=raw,{mode},file={path.absolute()}"),
        *("-device", f"virtio-blk-pci,drive={name}{index}"),
    ]


def _free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for_socket(path: Path, owner: Running) -> None:
    end = time.monotonic() + 10
    while not path.exists():
        if owner.returncode is not None or time.monotonic() > end:
            raise UnavailableError(
                f"expected the software TPM to listen, found: {owner.last_words()}",
                hint="run `scripts/just tools`, and check that state/ is writable",
            )
        time.sleep(0.02)
