# SPDX-License-Identifier: Apache-2.0
"""Each scenario booted once, predicted, judged and, where it differs on purpose, explained.

The tests and `just agreement` both come through here, so what one shows is what the other has checked.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from mantlet.edge.accelerator import FIRMWARE
from mantlet.explain import account, known
from mantlet.explain.explanation import Explanation, explain
from mantlet.predict import predict_boot, recorded
from mantlet.predict.boot import FirmwareRecord
from mantlet_measure.eventlog import decode_firmware_log
from mantlet_measure.pcr import BANKS
from tests.vm.agreement.bench import Bench
from tests.vm.agreement.outcomes import Outcome, judge
from tests.vm.agreement.prediction import Predictions, boot_of, predicted
from tests.vm.agreement.scenarios import FIRST, SCENARIOS, Scenario
from tests.vm.agreement.watching import Observation


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One scenario: what was predicted, what was seen, how they stand; why it differs from a clean boot."""

    predictions: Predictions
    observation: Observation
    outcome: Outcome
    explanation: Explanation | None


@dataclass(kw_only=True)
class Agreement:
    """Boots what is asked for and was not booted yet. `tell` is told the name of each scenario first."""

    bench: Bench
    tell: Callable[[str], None] = lambda _name: None
    _results: dict[str, Result] = field(default_factory=dict, init=False)
    _firmware: FirmwareRecord | None = field(default=None, init=False)

    def of(self, scenario: Scenario) -> Result:
        """Return the result of a scenario, after those that its machine has to have gone through."""
        for before in (FIRST, *_before(scenario)):
            if before.name not in self._results:
                self._results[before.name] = self._boot(before)
        if scenario.name not in self._results:
            self._results[scenario.name] = self._boot(scenario)
        return self._results[scenario.name]

    def _boot(self, scenario: Scenario) -> Result:
        self.tell(scenario.name)
        observation = self.bench.observe(scenario)
        if self._firmware is None:
            self._firmware = self._record(observation)
        predictions = predicted(self.bench, scenario, self._firmware)
        return Result(
            predictions=predictions,
            observation=observation,
            outcome=judge(scenario, predictions, observation),
            explanation=None if scenario.deliberate is None else self._explain(scenario, observation),
        )

    def _record(self, observation: Observation) -> FirmwareRecord:
        code = (self.bench.tools.root / FIRMWARE.lstrip("/")).read_bytes()
        source = recorded.Source(
            firmware=decode_firmware_log(observation.firmware_log),
            system=(),
            quoted=None,
            description="the first boot of this run",
        )
        return recorded.record(source, firmware_sha256=hashlib.sha256(code).digest())

    def _explain(self, scenario: Scenario, observation: Observation) -> Explanation:
        """Explain the boot to somebody who expected a clean one and has its log."""
        boot = boot_of(self.bench, replace(scenario, secure_boot=True, companions=(), smbios_cmdline=None))
        expected = account.with_known(
            account.of_predictions(predict_boot(boot, banks=BANKS), name="a clean boot", banks=BANKS),
            (*known.of_keys(boot.secure_boot.keys), *known.of_sections(boot.uki)),
        )
        log = decode_firmware_log(observation.firmware_log)
        return explain(expected, account.of_events(log.events, name="this boot", banks=BANKS))


def _before(scenario: Scenario) -> tuple[Scenario, ...]:
    """The scenarios that the same machine goes through first."""
    if not scenario.machine:
        return ()
    same = [each for each in SCENARIOS if each.machine == scenario.machine]
    return tuple(same[: same.index(scenario)])
