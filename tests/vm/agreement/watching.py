# SPDX-License-Identifier: Apache-2.0
"""One boot, seen from outside: what the TPM was given, and the event log as it lies in the guest's memory.

The first is swtpm's own log and judges. The second is what the operating system would read: who owns the
hypervisor reads it too, without a program in the guest.
"""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mantlet.edge.attack.qmp import Monitor
from mantlet.edge.attack.tpm_trace import Extension, Trace
from mantlet.edge.machine import Line, Machine

PATIENCE = 240.0
AGENT_STARTED = Line("inspect", "ok")
_POLL = 0.2
_MEBI = 1 << 20
# PFP 1.06, *PCR[5]*: the firmware's last word.
_LAST_WORDS = b"Exit Boot Services Returned with Success"
_LAST_WORD = hashlib.sha256(_LAST_WORDS).digest()
_LAST_REGISTER = 5
# EDK2, SecurityPkg.dec: PcdTcgLogAreaMinLen, and Tcg2Dxe fills it with 0xff.
_LOG_AREA = 0x10000
_LOG_SIGNATURE = b"Spec ID Event03\0"
# TCG_PCR_EVENT: register, type, SHA-1 digest, size.
_LOG_HEADER = 4 + 4 + 20 + 4
# Q35 with this much memory or more has 2 GiB of it below 4 GiB, else all; firmware allocates from the top.
_SPLIT, _LOW = 2816, 2048
_TOP = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Extends in order, the firmware's log, and how many seconds the boot took."""

    extensions: tuple[Extension, ...]
    firmware_log: bytes
    seconds: float

    def digests(self, register: int, bank: str) -> tuple[bytes, ...]:
        """What one register of a bank was extended with, in order."""
        return tuple(each.digests[bank] for each in self.extensions if each.register == register)

    def value(self, register: int, bank: str) -> bytes:
        """The value of a register, from zero."""
        value = bytes(hashlib.new(bank).digest_size)
        for digest in self.digests(register, bank):
            value = hashlib.new(bank, value + digest).digest()
        return value


def watch(machine: Machine, *, whole: bool) -> Observation:
    """Watch a machine that was just powered on.

    whole: until its agent says its first line, by when the registers are those that a manifest tells of; else
    until the firmware hands over to the kernel. Then it is unplugged.
    """
    _wait_for_last_word(machine)
    log = _firmware_log(machine)
    if whole:
        machine.wait_for(AGENT_STARTED, seconds=PATIENCE)
    machine.power_off()
    trace = Trace(machine.trace)
    # It fails on any command that changes a register and is no extend.
    trace.registers("sha256")
    extensions = tuple(trace.extensions)
    if not whole:
        last = next(index for index, each in enumerate(extensions) if _is_last_word(each))
        extensions = extensions[: last + 1]
    return Observation(extensions=extensions, firmware_log=log, seconds=machine.elapsed)


def _wait_for_last_word(machine: Machine) -> None:
    # swtpm dumps a command in lines of 16 bytes in upper case.
    wanted = _LAST_WORD.hex().upper()
    while not machine.trace.exists() or wanted not in _digits(machine.trace):
        _assert_goes_on(machine)
        time.sleep(_POLL)


def _digits(trace: Path) -> str:
    return "".join(trace.read_text("ascii", "replace").split())


def _assert_goes_on(machine: Machine) -> None:
    said = machine.serial.read_bytes()[-2000:]
    assert machine.is_on(), said
    assert machine.elapsed < PATIENCE, said


def _is_last_word(extension: Extension) -> bool:
    return extension.register == _LAST_REGISTER and extension.digests.get("sha256") == _LAST_WORD


def _firmware_log(machine: Machine) -> bytes:
    """The log that ends with the firmware's last word, which is logged once the TPM has answered."""
    memory = machine.hardware.memory_mib
    top = _LOW if memory >= _SPLIT else memory
    size = min(_TOP, top)
    dump = machine.folder / "memory"
    with Monitor(machine) as monitor:
        while True:
            _assert_goes_on(machine)
            # The path is in the machine's own folder, which QEMU sees under the same name.
            monitor.call("pmemsave", val=(top - size) * _MEBI, size=size * _MEBI, filename=str(dump))
            found = {log for log in _logs(dump.read_bytes()) if log.endswith(_LAST_WORDS)}
            dump.unlink()
            if found:
                (log,) = found
                return log


def _logs(memory: bytes) -> Iterator[bytes]:
    at = memory.find(_LOG_SIGNATURE)
    while at >= 0:
        yield memory[at - _LOG_HEADER : at - _LOG_HEADER + _LOG_AREA].rstrip(b"\xff")
        at = memory.find(_LOG_SIGNATURE, at + 1)
