# SPDX-License-Identifier: Apache-2.0
"""Predicted registers against boots: our image in all its situations, and UKIs of other suites' stubs.

`agreement/` boots each scenario once. What decides is the TPM's own log, in both banks.
"""

from pathlib import Path

import pytest
import yaml

from mantlet.edge import process, project
from mantlet.explain.registers import Outcome
from mantlet.predict.boot import Basis
from mantlet_measure.eventlog import decode_firmware_log
from mantlet_measure.pcr import BANKS, Bank, replay_events
from tests.vm.agreement import report
from tests.vm.agreement.bench import Bench
from tests.vm.agreement.outcomes import REGISTERS, State
from tests.vm.agreement.run import Agreement
from tests.vm.agreement.scenarios import FIRST, SCENARIOS, Scenario
from tests.vm.rig import Rig

pytestmark = pytest.mark.vm

# Settled by the firmware's build and the machine's shape, and by the kernel itself.
RECORDED, IMA = (0, 1, 2, 3, 6), 10
# What EDK2 measures of itself, it measures as it lies in memory, where it has set itself up for this memory
# and so many processors; 1 holds ACPI tables and boot options.
OF_THE_MACHINE = {0, 1}
COMPUTED = tuple(register for register in REGISTERS if register not in (*RECORDED, IMA))
# What EC2's instances with NitroTPM show as long as nobody has given them keys: the variables SecureBoot, PK,
# KEK, db and dbx are measured, all but the first empty, and nothing of who made the firmware.
SETUP_MODE = "65caf8dd1e0ea7a6347b635d2b379c93b9a1351edc2afc3ecda700e534eb3068"

each_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=[each.name for each in SCENARIOS])


@pytest.fixture(scope="session")
def agreement(rig: Rig) -> Agreement:
    bench = Bench(
        built=rig.built, tools=rig.tools, folder=rig.folder / "agreement", accelerator=rig.accelerator
    )
    # One wall socket: what was on before is powered off.
    return Agreement(bench=bench, tell=lambda _name: rig.power_off())


@each_scenario
def test_each_computed_register_holds_what_was_predicted(agreement: Agreement, scenario: Scenario) -> None:
    outcome = agreement.of(scenario).outcome
    assert outcome.registers(State.AGREE) == tuple(each for each in COMPUTED if each not in scenario.open)
    assert tuple(each for each in outcome.reasons if each != IMA) == scenario.open


@each_scenario
@pytest.mark.parametrize("bank", BANKS)
def test_each_predicted_event_is_an_extend_that_the_tpm_was_given(
    agreement: Agreement, scenario: Scenario, bank: Bank
) -> None:
    result = agreement.of(scenario)
    for register, prediction in result.predictions.items():
        if prediction.basis is Basis.COMPUTED:
            given = result.observation.digests(register, bank)
            assert given == tuple(event.digests[bank] for event in prediction.events), register


@each_scenario
def test_what_was_recorded_from_one_boot_holds_in_another_but_for_the_machines_own(
    agreement: Agreement, scenario: Scenario
) -> None:
    outcome = agreement.of(scenario).outcome
    held = set(outcome.registers(State.RECORDED))
    assert held >= set(RECORDED) - OF_THE_MACHINE
    assert held | set(outcome.registers(State.RECORDED_OTHER)) == set(RECORDED)


@each_scenario
def test_the_event_log_in_the_guests_memory_tells_what_the_tpm_was_given(
    agreement: Agreement, scenario: Scenario
) -> None:
    observation = agreement.of(scenario).observation
    log = decode_firmware_log(observation.firmware_log).complete(BANKS)
    told = [(event.register, dict(event.digests)) for event in log.events]
    given = [(each.register, {bank: each.digests[bank] for bank in BANKS}) for each in observation.extensions]
    # The kernel and user space keep logs of their own.
    assert told == given[: len(told)]
    assert scenario.whole or told == given


@each_scenario
def test_tpm2_eventlog_replays_the_same_log_to_the_same_registers(
    agreement: Agreement, scenario: Scenario, tmp_path: Path
) -> None:
    observation = agreement.of(scenario).observation
    log = tmp_path / "log"
    log.write_bytes(observation.firmware_log)
    said = process.run(agreement.bench.tools.command(["tpm2_eventlog", str(log)], ro=[log])).stdout
    pcrs = yaml.safe_load(said)["pcrs"]
    ours = decode_firmware_log(observation.firmware_log)
    named = {event.register for event in ours.events}
    for bank in BANKS:
        theirs = {register: value.to_bytes(bank.size, "big") for register, value in pcrs[bank].items()}
        replayed = replay_events(bank, ours.events, locality=ours.startup_locality)
        assert theirs == {register: replayed[register] for register in named}


@pytest.mark.parametrize(
    "scenario", [each for each in SCENARIOS if each.deliberate], ids=lambda scenario: scenario.name
)
def test_a_difference_that_was_made_on_purpose_is_explained(agreement: Agreement, scenario: Scenario) -> None:
    explanation = agreement.of(scenario).explanation
    assert explanation is not None
    assert scenario.deliberate is not None
    moved = tuple(result.register for result in explanation.of(Outcome.DIFFERS))
    assert moved == scenario.deliberate.moves
    said = " ".join(finding.words for finding in explanation.findings)
    assert [word for word in scenario.deliberate.words if word.lower() not in said.lower()] == []
    assert {register for finding in explanation.findings for register in finding.registers} == set(moved)


def test_setup_mode_is_the_constant_that_is_known_of_other_firmware(agreement: Agreement) -> None:
    for scenario in SCENARIOS:
        if not scenario.secure_boot and not scenario.whole:
            assert agreement.of(scenario).observation.value(7, "sha256").hex() == SETUP_MODE


def test_a_second_boot_with_other_memory_and_processors_moves_nothing_that_is_enforced(
    agreement: Agreement,
) -> None:
    first, second = (agreement.of(scenario).observation for scenario in (FIRST, SCENARIOS[1]))
    for bank in BANKS:
        moved = [each for each in COMPUTED if first.value(each, bank) != second.value(each, bank)]
        assert moved == []


def test_the_table_in_the_documents_is_the_one_of_these_boots(agreement: Agreement) -> None:
    results = [agreement.of(scenario) for scenario in SCENARIOS]
    document = (project.root() / "docs" / "agreement.md").read_text("utf-8")
    assert report.table(results) in document
