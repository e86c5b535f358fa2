# SPDX-License-Identifier: Apache-2.0
"""One boot of an attacked machine, from the copy to the observation.

Owns the order: copy, changes, power-on, waiting, probes while it serves, power-off, what is looked at
afterwards. What a change does, a probe tries or an observation means is each another module's.
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from mantlet.attack.changes import Change
from mantlet.attack.observation import End, Observation
from mantlet.client import chat
from mantlet.client.handover import Status, fetch_status
from mantlet.edge.attack import after, gear, hand_keys, packets, probes
from mantlet.edge.attack.after import Aftermath
from mantlet.edge.attack.hand import Hand
from mantlet.edge.attack.heard import STARTS, heard_of
from mantlet.edge.attack.pace import Pace
from mantlet.edge.attack.qmp import Monitor
from mantlet.edge.attack.scene import CannotTryError, Scene
from mantlet.edge.attack.stand import MODEL, Stand
from mantlet.edge.attack.tpm_trace import UNSEAL, Trace
from mantlet.edge.bench.provisioning import SERVING, connect
from mantlet.edge.machine import Machine
from mantlet.release import manifest
from mantlet_measure.errors import MantletError
from mantlet_measure.pcr import BANKS, ENFORCED, Bank, Register

_POLL = 0.2
# From a refusal of the agent, or of the firmware, to the end of the machine.
_END_SECONDS, _FIRMWARE_SECONDS = 30.0, 4.0
_CLOSING_SECONDS = 5.0
# What is waited for last: the signs of all attacks.
_ALL = "all"
_FIRMWARE_REFUSES = (b"Access Denied", b"No bootable option", b"Security Violation")
# What firmware and stub measure: the UKI, Secure Boot, command line and credentials, extensions.
_BEFORE_THE_KERNEL = {4, 7, 12, 13}
_GOES_ON = {"ok", "awaiting-key"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A boot to make: of a copy of the stand's machine, with changes, with probes by name, within a bound.

    signed: the registers that the policy key signs beforehand, None for none; pace: of every wait for an
    effect, the last one before power-off among them, which ends at once when `until` is content.
    """

    stand: Stand
    changes: tuple[Change, ...]
    probes: tuple[str, ...]
    bound: float
    signed: Mapping[Bank, Mapping[int, bytes]] | None = None
    pace: Pace = field(default_factory=Pace)
    until: Callable[[Observation], bool] = lambda _observation: False


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a boot showed, and its registers by bank; those are empty without a TPM.

    stuck: whether the firmware was still busy with itself when the time was over.
    """

    observation: Observation
    registers: Mapping[Bank, Mapping[int, bytes]]
    stuck: bool = False


@dataclass(slots=True, kw_only=True)
class _Boot:
    plan: Plan
    hand: Hand
    machine: Machine
    end: End = End.ON
    found: dict[str, tuple[str, ...]] = field(default_factory=dict)
    not_run: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ended:
    events: tuple[str, ...]
    seconds: float


def observe(plan: Plan) -> Seen:
    """Make one boot. BootError when QEMU does not take the machine."""
    # Unix sockets have short names only.
    with tempfile.TemporaryDirectory(prefix="mantlet-") as name:
        folder = Path(name)
        hand = Hand(stand=plan.stand, folder=folder)
        hand.lay(plan.changes)
        if plan.signed is not None:
            stand = plan.stand
            hand_keys.approve_anything(folder / "deployment.raw", plan.signed, stand.keys, stand.tools)
        hand.words(*gear.words(folder))
        hardware = replace(hand.hardware, extra_folders=(folder,), network=gear.NETWORK)
        variables = hand.variables.read_bytes()
        boot = _Boot(plan=plan, hand=hand, machine=plan.stand.machine(hand.machine_folder, hardware))
        return _made(boot, variables)


def _made(boot: _Boot, variables: bytes) -> Seen:
    machine, folder = boot.machine, boot.hand.folder
    with ExitStack() as stack:
        for server in boot.hand.servers:
            stack.enter_context(server.running(boot.plan.stand.tools))
        stack.enter_context(machine)
        try:
            ports, neighbour = stack.enter_context(gear.plugged(folder))
            monitor = stack.enter_context(Monitor(machine))
        except (MantletError, OSError):
            # QEMU did not take the machine: its own words say why.
            machine.check_end()
            raise
        scene = Scene(
            machine=machine,
            stand=boot.plan.stand,
            folder=folder,
            monitor=monitor,
            ports=ports,
            wire=neighbour,
            pace=boot.plan.pace,
        )
        boot.end = _wait(machine, boot.plan.bound)

        def shown() -> bool:
            """Whether all that is waited for has shown already."""
            so_far = _Ended(events=monitor.drain(), seconds=machine.elapsed)
            heard = heard_of(machine, ports, boot.end)
            seen = _told(boot, variables, monitor.statistics(), heard, so_far)
            return boot.plan.until(seen.observation)

        if boot.end is End.SERVING:
            _probe(boot, scene, shown)
        events = monitor.drain()
        statistics = monitor.statistics() if machine.is_on() else {}
        seconds = machine.elapsed
        machine.power_off()
        machine.check_end()
        heard = heard_of(machine, ports, boot.end)
    return _told(boot, variables, statistics, heard, _Ended(events=events, seconds=round(seconds, 1)))


def _told(
    boot: _Boot,
    variables: bytes,
    statistics: Mapping[str, tuple[int, int]],
    heard: Mapping[str, bytes],
    ended: _Ended,
) -> Seen:
    """Look at what a boot left, or has shown so far, and tell all of it."""
    machine, folder = boot.machine, boot.hand.folder
    sent, wire = packets.sent(folder / gear.CAPTURE)
    aftermath = Aftermath(
        stand=boot.plan.stand,
        folder=folder,
        variables=variables,
        hand=boot.hand,
        statistics=statistics,
        sent=sent,
    )
    for name in boot.plan.probes:
        if name in after.PROBES:
            boot.found[name] = after.PROBES[name](aftermath)
        elif name not in boot.found:
            boot.not_run.setdefault(name, f"the machine did not serve while it was to be tried ({boot.end})")
    codes, registers = measured(machine)
    return Seen(
        observation=Observation(
            end=boot.end,
            seconds=ended.seconds,
            lines=tuple(f"{line.stage} {line.code}" for line in machine.lines()),
            unseal=codes,
            registers=registers.get(Bank.SHA256, {}),
            moved=_moved(boot, registers),
            heard=heard,
            events=ended.events,
            sent=sent,
            wire=wire,
            found=boot.found,
            not_run=boot.not_run,
        ),
        registers=registers,
        stuck=boot.end is End.ON and STARTS not in machine.serial.read_bytes(),
    )


def _wait(machine: Machine, bound: float) -> End:
    """Wait until it serves, is off, is refused by the firmware, or the time is over."""
    refused = stuck = None
    while machine.is_on():
        lines, now = machine.lines(), machine.elapsed
        if SERVING in lines:
            return End.SERVING
        said = machine.serial.read_bytes()
        if STARTS not in said and any(word in said for word in _FIRMWARE_REFUSES):
            stuck = stuck or now
        if lines and lines[-1].code not in _GOES_ON:
            refused = refused or now
        if stuck is not None and now > stuck + _FIRMWARE_SECONDS:
            return End.FIRMWARE if STARTS not in said else End.ON
        if now > bound or (refused is not None and now > refused + _END_SECONDS):
            return End.ON
        time.sleep(_POLL)
    return End.OFF


def _probe(boot: _Boot, scene: Scene, shown: Callable[[], bool]) -> None:
    """Try what is to be tried, give it time to show; then see whether it still serves."""
    for name in boot.plan.probes:
        if name not in probes.PROBES:
            continue
        scene.pace.trying = name
        try:
            boot.found[name] = probes.PROBES[name](scene)
        except CannotTryError as reason:
            boot.not_run[name] = reason.message
        except (MantletError, OSError):
            # What was tried brought it down: that is an observation, not a failure of ours.
            if not _goes_off(boot.machine):
                raise
            boot.found[name] = ()
            break
    scene.pace.trying = _ALL
    try:
        scene.pace.wait(lambda: not boot.machine.is_on() or shown())
    except (MantletError, OSError):
        if not _goes_off(boot.machine):
            raise
    boot.end = End.OFF if not boot.machine.is_on() else End.SERVING if _answers(boot.machine) else End.ON


def _goes_off(machine: Machine) -> bool:
    """Whether QEMU has ended, or is about to: its sockets close first."""
    end = time.monotonic() + _CLOSING_SECONDS
    while machine.is_on() and time.monotonic() < end:
        time.sleep(_POLL)
    return not machine.is_on()


def _answers(machine: Machine) -> bool:
    try:
        with connect(machine) as connection:
            if fetch_status(connection) != Status(stage="serve", code="ok"):
                return False
            return any(chat.ask(connection, "Hello", model=MODEL, max_tokens=2)) or True
    except (MantletError, OSError):
        return False


def measured(machine: Machine) -> tuple[tuple[int, ...], Mapping[Bank, Mapping[int, bytes]]]:
    """What the TPM answered when the key was asked for, and its registers by bank; nothing without a TPM."""
    if not machine.hardware.tpm:
        return (), {}
    trace = Trace(machine.trace)
    return tuple(trace.results(UNSEAL)), {bank: trace.registers(bank) for bank in BANKS}


def _moved(boot: _Boot, registers: Mapping[Bank, Mapping[int, bytes]]) -> tuple[int, ...] | None:
    """The enforced registers that the build does not predict, in any bank; not the agent's own.

    Of a boot that ended before the agent, those that are complete when the kernel starts; None when it never
    started.
    """
    if boot.end is End.FIRMWARE:
        return None
    manifested = boot.plan.stand.built.path("measurements.json").read_bytes()
    platform = manifest.decode(manifested).platforms["qemu-ovmf"]
    complete = set(ENFORCED) - {Register.SYSTEM_IDENTITY} if boot.machine.lines() else _BEFORE_THE_KERNEL
    return tuple(
        number
        for number in ENFORCED
        if number in complete
        and any(registers[bank][number] != platform.banks[bank][number].value for bank in registers)
    )
