# SPDX-License-Identifier: Apache-2.0
"""What one boot looks like from outside: lines and their times, the TPM's log, evidence and its verdicts."""

from dataclasses import dataclass, field

from mantlet.client.attest import attest, fetch_evidence
from mantlet.edge.attack.tpm_trace import Trace
from mantlet.edge.machine import Line, Machine
from mantlet.verifier.result import AttestationResult
from mantlet_measure import evidence as evidence_format
from mantlet_measure.evidence import Evidence, State
from tests.vm.rig import BOOT_SECONDS, Rig


@dataclass(frozen=True, kw_only=True)
class Boot:
    """One boot as it was seen from outside while it was on."""

    lines: tuple[Line, ...]
    serial: bytes
    trace: Trace
    evidence: dict[State, Evidence]
    results: dict[State, AttestationResult]
    times: dict[str, float]


@dataclass(kw_only=True)
class Watch:
    """Collects what becomes a `Boot`."""

    rig: Rig
    machine: Machine
    evidence: dict[State, Evidence] = field(default_factory=dict)
    results: dict[State, AttestationResult] = field(default_factory=dict)
    times: dict[str, float] = field(default_factory=dict)

    def wait_for(self, line: Line) -> None:
        """Wait for a line, and note when each came."""
        self.machine.wait_for(line, seconds=BOOT_SECONDS, tell=self._tell)

    def attest(self, state: State) -> None:
        """Verify the machine, and keep evidence of that state as it was received."""
        with self.rig.connect(self.machine) as connection:
            self.results[state] = attest(connection, self.rig.question(state))
            self.evidence[state] = evidence_format.decode(fetch_evidence(connection, bytes(range(32))))

    def seen(self) -> Boot:
        """Return all of it."""
        return Boot(
            lines=self.machine.lines(),
            serial=self.machine.serial.read_bytes(),
            trace=Trace(self.machine.trace),
            evidence=self.evidence,
            results=self.results,
            times=self.times,
        )

    def _tell(self, elapsed: float, line: Line) -> None:
        self.times.setdefault(f"{line.stage} {line.code}", round(elapsed, 1))
