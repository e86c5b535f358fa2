# SPDX-License-Identifier: Apache-2.0
"""One register of one bank after one boot: does it hold what was predicted?

The observed side is computed here from the TPM's log with nothing but hashlib.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from mantlet.predict.boot import Basis
from mantlet_measure.pcr import BANKS, Bank, replay
from tests.vm.agreement.prediction import Predictions
from tests.vm.agreement.scenarios import Scenario
from tests.vm.agreement.watching import Observation

REGISTERS: tuple[int, ...] = tuple(range(16))


class State(StrEnum):
    """How prediction and observation stand to each other; the value is said in the table."""

    AGREE = "="
    DIFFER = "≠"
    RECORDED = "r"
    RECORDED_OTHER = "m"
    UNPREDICTABLE = "?"
    UNKNOWN = "·"

    @property
    def meaning(self) -> str:
        """What it says, in words."""
        return _MEANINGS[self]


_MEANINGS: Mapping[State, str] = {
    State.AGREE: "agree: computed beforehand, and the TPM held exactly that",
    State.DIFFER: "differ: computed beforehand, and the TPM held something else",
    State.RECORDED: "recorded: taken from the first boot under this firmware, and the same in this one",
    State.RECORDED_OTHER: (
        "recorded, and another value here: memory, devices, or what the stub measures of them, settle it too"
    ),
    State.UNPREDICTABLE: "unpredictable: the prediction says so, and why",
    State.UNKNOWN: "nothing is predicted",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The states of one scenario by register and bank, and the reasons of those that are unpredictable."""

    scenario: Scenario
    states: Mapping[tuple[int, Bank], State]
    reasons: Mapping[int, str]
    seconds: float

    def registers(self, state: State) -> tuple[int, ...]:
        """The registers that are in a state in every bank."""
        return tuple(
            register for register in REGISTERS if all(self.states[register, bank] is state for bank in BANKS)
        )


def judge(scenario: Scenario, predictions: Predictions, observation: Observation) -> Outcome:
    """Compare a boot with what was predicted of it."""
    states = {
        (register, bank): _state(register, bank, predictions, observation)
        for register in REGISTERS
        for bank in BANKS
    }
    reasons = {
        register: prediction.reason
        for register, prediction in sorted(predictions.items())
        if prediction.basis is Basis.UNPREDICTABLE
    }
    return Outcome(scenario=scenario, states=states, reasons=reasons, seconds=observation.seconds)


def _state(register: int, bank: Bank, predictions: Predictions, observation: Observation) -> State:
    prediction = predictions.get(register)
    if prediction is None:
        return State.UNKNOWN
    if prediction.basis is Basis.UNPREDICTABLE:
        return State.UNPREDICTABLE
    # Values and events: two lists of events do not fold to one value, but a list says where they part.
    expected = replay(bank, (event.digests[bank] for event in prediction.events))
    same = expected == observation.value(register, bank)
    if prediction.basis is Basis.RECORDED:
        return State.RECORDED if same else State.RECORDED_OTHER
    return State.AGREE if same else State.DIFFER
