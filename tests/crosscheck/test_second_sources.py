# SPDX-License-Identifier: Apache-2.0
"""What we predict, and what other people's programs say of the same bytes."""

import pytest

from mantlet.edge import prediction
from mantlet.edge.accelerator import VARIABLES
from mantlet.edge.prediction import Inputs, Keys
from mantlet.predict import kernel_boot, pe, predict_boot
from mantlet.predict.authenticode import authenticode
from mantlet_measure.pcr import BANKS, Bank, Event, replay
from tests.crosscheck.second_sources import (
    AUTHENTICODE,
    KNOWN,
    OUR_KEYS,
    OURS,
    PESIGN,
    PHASES,
    PROGRAMS,
    SETUP_MODE,
    SYSTEMD_MEASURE,
    UKIS,
    VIRT_FW_MEASURE,
    Subjects,
    systemd_measure,
    virt_fw_measure,
)


def check(tool: str, subject: str, *, same: bool) -> None:
    """Fail on a disagreement that nobody knows of, and on a known one that is over."""
    reason = KNOWN.get((tool, subject))
    if reason is None:
        assert same, f"{tool} disagrees on {subject}"
    else:
        assert not same, f"{tool} agrees on {subject} now: take it out of KNOWN ({reason})"


def value(events: tuple[Event, ...], bank: Bank) -> bytes:
    return replay(bank, (event.digests[bank] for event in events))


@pytest.mark.parametrize("name", UKIS)
def test_register_11_is_what_systemd_measure_calculates(subjects: Subjects, name: str) -> None:
    boot = prediction.boot(
        Inputs(image=subjects.path(name), keys=Keys(store=subjects.bench.built.path("OVMF_VARS.fd")))
    )
    predicted = kernel_boot.phase_values(boot)
    theirs = systemd_measure(subjects, name)
    ours = {(phase, bank): value(predicted[phase].events, bank) for phase in PHASES for bank in BANKS}
    assert set(ours) == set(theirs)
    check(SYSTEMD_MEASURE, name, same=ours == theirs)


@pytest.mark.parametrize("tool", AUTHENTICODE)
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_authenticode_hash_is_what_another_program_computes(
    subjects: Subjects, name: str, tool: str
) -> None:
    image = pe.decode(subjects.path(name).read_bytes(), what=name, taken=pe.Layout.FIRMWARE)
    banks = (Bank.SHA256,) if tool == PESIGN else BANKS
    check(
        tool,
        name,
        same=all(authenticode(image, bank) == AUTHENTICODE[tool](subjects, name, bank) for bank in banks),
    )


@pytest.mark.parametrize("state", [OUR_KEYS, SETUP_MODE])
def test_register_7_up_to_its_separator_is_what_virt_fw_measure_computes(
    subjects: Subjects, state: str
) -> None:
    bench, enrolled = subjects.bench, state == OUR_KEYS
    store = bench.built.path("OVMF_VARS.fd") if enrolled else bench.tools.root / VARIABLES.lstrip("/")
    boot = prediction.boot(Inputs(image=subjects.path(OURS), keys=Keys(store=store)))
    events = predict_boot(boot)[7].events
    # It does not model what authorises an image, which follows.
    last = next(place for place, event in enumerate(events) if event.type == "EV_SEPARATOR")
    ours = {bank: value(events[: last + 1], bank) for bank in BANKS}
    check(VIRT_FW_MEASURE, state, same=ours == virt_fw_measure(subjects, store, secure_boot=enrolled))


def test_register_7_is_the_same_from_both_forms_that_virt_fw_vars_writes(subjects: Subjects) -> None:
    """OVMF's variable store, and EC2's UefiData."""
    built = subjects.bench.built
    stores = (
        Keys(store=built.path("OVMF_VARS.fd")),
        Keys(uefi_data=built.path("uefi-data.aws")),
    )
    one, other = (
        predict_boot(prediction.boot(Inputs(image=subjects.path(OURS), keys=keys)))[7].events
        for keys in stores
    )
    assert one == other


def test_a_disagreement_that_is_known_names_a_subject_and_a_tool_that_there_are() -> None:
    assert {tool for tool, _ in KNOWN} <= {SYSTEMD_MEASURE, VIRT_FW_MEASURE, *AUTHENTICODE}
    assert {subject for _, subject in KNOWN} <= {*PROGRAMS, OUR_KEYS, SETUP_MODE}
