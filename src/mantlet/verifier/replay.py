# SPDX-License-Identifier: Apache-2.0
"""From logs to events that may be believed: replay against the quoted registers.

Follows TCG PC Client Platform Firmware Profile 1.06 and the Canonical Event Log. A log proves itself by
folding to what the TPM signed. That proves the digests and their order, never what the log *says* of them:
see `LoggedEvent`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mantlet.verifier.quote import AuthenticQuote
from mantlet.verifier.steps import Checks
from mantlet_measure.cel import AgentRecord, decode_system_log
from mantlet_measure.eventlog import decode_firmware_log
from mantlet_measure.evidence import Evidence
from mantlet_measure.logged import LoggedEvent
from mantlet_measure.pcr import BANKS, Register, replay_events

# The kernel extends register 10 by itself (IMA: the boot aggregate, then each module it loads, in no fixed
# order). Its log is not part of evidence, so what the register holds is recorded and explained by nothing.
REPLAYED = tuple(int(register) for register in Register if register is not Register.IMA)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthenticEvents:
    """The events that made the quoted registers (but 10), in order, and the agent's records among them."""

    quote: AuthenticQuote
    events: tuple[LoggedEvent, ...]
    agent_records: tuple[AgentRecord, ...]

    def of(self, register: int) -> tuple[LoggedEvent, ...]:
        """Return the events of one register."""
        return tuple(event for event in self.events if event.register == register)


def replay(evidence: Evidence, quote: AuthenticQuote) -> AuthenticEvents:
    """Replay the firmware's, systemd's and the agent's log. RefusedError with all that differs.

    DecodeError when a log is none, is cut, or lacks a bank.
    """
    firmware = decode_firmware_log(evidence.firmware_log).complete(BANKS)
    system = decode_system_log(evidence.system_log).complete(BANKS)
    agent = tuple(record.extended() for record in evidence.agent_log)
    # The firmware has ended before systemd starts, and the agent is the only one that extends register 15.
    events = (*firmware.events, *system.events, *agent)
    checks = Checks()
    for event in events:
        if event.register not in REPLAYED:
            checks.fault(
                "log",
                expected="events of registers 0 to 9 and 11 to 15",
                observed=f"one of register {event.register}",
            )
    for bank in BANKS:
        replayed = replay_events(bank, events, locality=firmware.startup_locality)
        for register in REPLAYED:
            checks.equal(
                f"register {register} {bank}, replayed from {_count(events, register)} events",
                expected=quote.registers[bank][register],
                observed=replayed[register],
            )
    _check_agent_words(evidence.agent_log, checks)
    checks.done(hint="a log was cut, altered or padded on its way: do not trust this machine")
    return AuthenticEvents(quote=quote, events=events, agent_records=evidence.agent_log)


def _check_agent_words(records: Sequence[AgentRecord], checks: Checks) -> None:
    """Replay proves a digest; it proves a word only if the word hashes to the digest."""
    for record in records:
        for bank in BANKS:
            checks.equal(
                f"agent record {record.recnum}, {bank} of its word",
                expected=bank.digest(record.word.encode("ascii")),
                observed=record.digests[bank],
            )


def _count(events: Sequence[LoggedEvent], register: int) -> int:
    return sum(1 for event in events if event.register == register)
