# SPDX-License-Identifier: Apache-2.0
"""The judgement: of one boot under attack, and of an attack together with its control.

Owns the verdicts and their rules. A control is judged by the attack's own sign alone: a weakened build that
shows something else by itself proves nothing about the attack.
"""

from dataclasses import dataclass
from enum import StrEnum

from mantlet.attack import signs
from mantlet.attack.model import Attack, Control
from mantlet.attack.observation import End, Observation


class Verdict(StrEnum):
    """What became of an attack."""

    INERT = "inert"
    FAIL_CLOSED = "fail-closed"
    BREACH = "breach"
    # The control shows that a success of the attack would not have been seen.
    VOID = "void"
    # Stated as a limit, and shown to be one.
    LIMIT = "limit"
    # It could not be tried on this host.
    NOT_RUN = "not-run"

    @property
    def accepted(self) -> bool:
        """Whether a release may have it."""
        return self in (Verdict.INERT, Verdict.FAIL_CLOSED, Verdict.LIMIT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One boot judged: why it is a breach, or nothing; `sign`: what of that is the attack's own sign."""

    verdict: Verdict
    reasons: tuple[str, ...]
    sign: tuple[str, ...]


def judge(attack: Attack, observation: Observation) -> Judgement:
    """Judge one boot.

    1. What could not be tried is not run. 2. The attack's sign is a breach, and so is a key that must not be
    released, and a word on any port: every boot is watched for those. 3. A machine that serves left the
    attack without effect. 4. One that is off, or was never started, failed closed; so did one that may stand
    still, if it never had a line, a question for the key or a packet. 5. Anything else stays on and serves
    nothing: a breach.
    """
    # 1
    if missing := tuple(observation.not_run[each] for each in attack.probes if each in observation.not_run):
        return Judgement(verdict=Verdict.NOT_RUN, reasons=missing, sign=())
    # 2
    sign = tuple(attack.sign.seen(observation))
    if not attack.releases and observation.released:
        sign += (f"the TPM released the key {observation.released} times",)
    always = tuple(phrase for each in signs.ALWAYS for phrase in each.seen(observation))
    if reasons := tuple(dict.fromkeys(sign + always)):
        return Judgement(verdict=Verdict.BREACH, reasons=reasons, sign=sign)
    # 3
    if observation.end is End.SERVING:
        return Judgement(verdict=Verdict.INERT, reasons=(), sign=())
    # 4
    still = attack.stands and not (observation.lines or observation.unseal or observation.sent)
    if observation.end in (End.OFF, End.FIRMWARE) or (observation.end is End.ON and still):
        return Judgement(verdict=Verdict.FAIL_CLOSED, reasons=(), sign=())
    # 5
    return Judgement(verdict=Verdict.BREACH, reasons=(End.ON.meaning,), sign=())


def conclude(attack: Attack, attacked: Judgement, control: Judgement | None) -> Verdict:
    """Say what became of an attack, by the judgements of its boot and of its control's."""
    if attack.control is Control.LIMIT:
        return Verdict.LIMIT if attacked.sign else Verdict.VOID
    if attacked.verdict in (Verdict.BREACH, Verdict.NOT_RUN):
        return attacked.verdict
    if control is None or not control.sign:
        return Verdict.VOID
    return attacked.verdict
