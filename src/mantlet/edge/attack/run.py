# SPDX-License-Identifier: Apache-2.0
"""A run of the battery: every boot under attack, the control of each attack, and the outcome of both.

Owns the order, and what is run beside what.
"""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

from mantlet.attack import catalogue, judge
from mantlet.attack.changes import Change, HostileModel, Replay, Store
from mantlet.attack.document import Outcome
from mantlet.attack.judge import Judgement, Verdict
from mantlet.attack.model import Attack, Control
from mantlet.attack.observation import Observation
from mantlet.edge import output
from mantlet.edge.attack import pace as pacing
from mantlet.edge.attack.boot import Plan, Seen, observe
from mantlet.edge.attack.hostile_boot import hostile_boot
from mantlet.edge.attack.kept import Kept
from mantlet.edge.attack.pace import Pace
from mantlet.edge.attack.replays import replayed
from mantlet.edge.attack.stand import Stand
from mantlet_measure.pcr import Bank

# Emulation on a busy machine: a root that does not come is given up after 90 seconds by PID 1.
_PATIENCE, _MORE = 3.0, 120.0
# A machine that stands still does so until somebody stops looking: after this much of a plain boot.
_STANDING = 1.25

# Which controls come before the attacked boot, and which need what it measured; a limit has none.
_FIRST = (Control.WEAKENED_BUILD, Control.OPENED)
_AFTERWARDS = (Control.APPROVED_ANYTHING, Control.WEAKENED_APPROVED, Control.NOT_WITHDRAWN)

Registers = Mapping[Bank, Mapping[int, bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Battery:
    """Two provisioned machines, where outcomes are kept, and the ids of rules by the attack they name."""

    production: Stand
    weakened: Stand
    folder: Path
    rules: Mapping[str, tuple[str, ...]]

    @property
    def kept(self) -> Kept:
        """The outcomes of attacks on these two machines' builds."""
        return Kept(folder=self.folder, production=self.production, weakened=self.weakened)

    def run(self, attacks: Sequence[Attack], *, resume: bool, jobs: int) -> tuple[Outcome, ...]:
        """Run attacks and return their outcomes in their order. BootError when QEMU takes a machine not."""
        done = {attack.id: kept for attack in attacks if resume and (kept := self.kept.find(attack))}
        groups = catalogue.boots([attack for attack in attacks if attack.id not in done])
        if done:
            output.step(f"{len(done)} of {len(attacks)} attacks are taken from an earlier run")
        for number, outcomes in enumerate(self._outcomes(groups, jobs), start=1):
            for outcome in outcomes:
                done[outcome.id] = outcome
                self._tell(outcome, f"{number}/{len(groups)}")
        return tuple(done[attack.id] for attack in attacks)

    def _outcomes(self, groups: Sequence[Sequence[Attack]], jobs: int) -> Iterator[tuple[Outcome, ...]]:
        """Run groups, so many at a time, and yield what comes of each when it is there."""
        if jobs == 1:
            # In our own thread: an interruption powers the machine off at once.
            yield from map(self._group, groups)
            return
        with ThreadPoolExecutor(max_workers=jobs) as pool:
            running = [pool.submit(self._group, group) for group in groups]
            try:
                for future in as_completed(running):
                    yield future.result()
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _group(self, group: Sequence[Attack]) -> tuple[Outcome, ...]:
        """Boot once for all attacks of a group, and once for each kind of control; judge each attack.

        A control that needs nothing of the attacked boot comes before it, and says how long to watch that.
        """
        started = time.monotonic()
        output.step(f"Attacking: {', '.join(attack.id for attack in group)}…")
        pace = pacing.of_a_control()
        controls = self._controls(group, _FIRST, pace)
        attacked = self._boot(self.production, group, pace=pacing.after(pace))
        judged = {attack.id: judge.judge(attack, attacked.observation) for attack in group}
        able = [each for each in group if judged[each.id].verdict is not Verdict.NOT_RUN]
        controls |= self._controls(able, _AFTERWARDS, pace, registers=attacked.registers)
        whole = (time.monotonic() - started) / len(group)
        share = attacked.observation.seconds / len(group)
        outcomes = []
        for attack in group:
            weak = controls.get(attack.id)
            verdict = judge.conclude(attack, judged[attack.id], weak[0] if weak else None)
            outcome = Outcome(
                id=attack.id,
                title=attack.title,
                rules=self.rules.get(attack.name, ()),
                verdict=verdict,
                control=attack.control.value,
                control_verdict=weak[0].verdict if weak else None,
                reasons=_reasons(attack, verdict, judged[attack.id]),
                facts=_lines((*judged[attack.id].sign, *attacked.observation.facts)),
                control_facts=_lines((*weak[0].sign, *weak[1].observation.facts)) if weak else (),
                seconds=round(share),
                control_seconds=max(0, round(whole - share)),
            )
            self.kept.keep(attack, outcome)
            outcomes.append(outcome)
        return tuple(outcomes)

    def _controls(
        self,
        group: Sequence[Attack],
        kinds: Collection[Control],
        pace: Pace,
        *,
        registers: Registers = MappingProxyType({}),
    ) -> dict[str, tuple[Judgement, Seen]]:
        """Make the boots of some kinds of control, one for each kind that the group has; by attack."""
        made: dict[str, tuple[Judgement, Seen]] = {}
        for kind in dict.fromkeys(attack.control for attack in group if attack.control in kinds):
            those = [attack for attack in group if attack.control is kind]
            seen = self._control(kind, those, registers, pace)
            made |= {each.id: (judge.judge(each, seen.observation), seen) for each in those}
        return made

    def _boot(
        self,
        stand: Stand,
        group: Sequence[Attack],
        *,
        pace: Pace,
        shows: bool = False,
        added: Sequence[Change] = (),
        signed: Registers | None = None,
    ) -> Seen:
        """Make one boot of a group; shows: whether it ends once every attack's sign has shown."""
        changes = tuple(dict.fromkeys(change for attack in group for change in attack.changes)) + tuple(added)
        for change in changes:
            if isinstance(change, HostileModel):
                return hostile_boot(stand, change.lie, bound=self._patience)
            if isinstance(change, Replay):
                observation, registers = replayed(stand, change, signed=signed)
                return Seen(observation=observation, registers=registers)
        plan = Plan(
            stand=stand,
            changes=changes,
            probes=tuple(dict.fromkeys(probe for attack in group for probe in attack.probes)),
            bound=self._bound(stand, group, changes),
            signed=signed,
            pace=pace,
            until=partial(_all_show, group) if shows else _never,
        )
        seen = observe(plan)
        if seen.stuck and not any(attack.stands for attack in group):
            # EDK2 may wait for ever for a second processor whose start-up signal comes while that is in SMM,
            # which a busy host makes likelier (tianocore/edk2, issue 10293). A second time is judged.
            output.step(
                f"The firmware started nothing: {', '.join(attack.id for attack in group)} once more…"
            )
            again = observe(plan)
            told = {**again.observation.found, "firmware": ("it started nothing in a first boot",)}
            return replace(again, observation=replace(again.observation, found=told))
        return seen

    def _control(self, control: Control, group: Sequence[Attack], registers: Registers, pace: Pace) -> Seen:
        """Make the boot in which the attacks of a group, all of one control, must succeed."""
        boot = partial(self._boot, group=group, pace=pace, shows=True)
        match control:
            case Control.WEAKENED_BUILD:
                return boot(self.weakened)
            case Control.APPROVED_ANYTHING:
                return boot(self.production, signed=registers)
            case Control.WEAKENED_APPROVED:
                return boot(self.weakened, signed=boot(self.weakened).registers)
            case Control.OPENED:
                opening = [change for attack in group for change in attack.opening]
                return boot(self.production, added=opening)
            case Control.NOT_WITHDRAWN | Control.LIMIT:
                return observe(Plan(stand=self.production, changes=(), probes=(), bound=self._patience))

    @property
    def _patience(self) -> float:
        return _PATIENCE * self.production.plain_seconds + _MORE

    def _bound(self, stand: Stand, group: Sequence[Attack], changes: Collection[Change]) -> float:
        """How long a boot may take. A weakened build has more to start."""
        if stand is not self.production:
            return self._patience
        # Without Secure Boot the kernel takes no policy of execution, and PID 1 stands still (docs/adr/0011).
        standing = Store.SECURE_BOOT_OFF in changes or any(attack.stands for attack in group)
        return _STANDING * stand.plain_seconds if standing else self._patience

    def _tell(self, outcome: Outcome, progress: str) -> None:
        why = f": {outcome.reasons[0]}" if outcome.reasons else ""
        output.step(f"{progress} {outcome.id}: {outcome.verdict.value}{why}")


def by_attack(named: Iterable[tuple[str, str | None]]) -> Mapping[str, tuple[str, ...]]:
    """Gather pairs of a rule's id and the attack that it names, by attack."""
    gathered: dict[str, tuple[str, ...]] = {}
    for rule, attack in named:
        if attack is not None:
            gathered[attack] = (*gathered.get(attack, ()), rule)
    return gathered


def _all_show(group: Sequence[Attack], observation: Observation) -> bool:
    return all(any(attack.sign.seen(observation)) for attack in group)


def _never(_observation: Observation) -> bool:
    return False


def _reasons(attack: Attack, verdict: Verdict, judged: Judgement) -> tuple[str, ...]:
    if verdict is Verdict.VOID:
        where = attack.control.meaning
        return (f"the control did not show it: {attack.sign.words} (where: {where})",)
    return _lines(judged.reasons)


def _lines(phrases: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(phrase.replace("\n", " ")[:390] for phrase in phrases if phrase))[:64]
