# SPDX-License-Identifier: Apache-2.0
"""Tests of the words: each deliberate difference of a boot is named for what it is, and named once."""

from dataclasses import replace

import pytest

from mantlet.explain import account
from mantlet.explain.explanation import explain, to_value
from mantlet.explain.finding import Cause
from mantlet.explain.registers import Outcome
from mantlet.predict import uki
from mantlet.predict.boot import Extra, ExtraKind, RegisterPrediction, UserSpace
from mantlet_measure.pcr import BANKS, Event, measured
from tests.unit.explain.scenes import (
    CMDLINE,
    authority_data,
    expected,
    explained,
    logged,
    observed,
    predictions,
    scene,
    secure_boot,
    secure_boot_data,
    table,
    words,
)
from tests.unit.predict import synthetic
from tests.unit.predict.boots import addon, image, utf16

CLEAN = scene(release=image(262, cmdline=CMDLINE.encode()))


def test_equal_boots_have_nothing_to_explain() -> None:
    found = explained(CLEAN, CLEAN)
    assert found.equal
    assert found.findings == ()
    assert {result.outcome for result in found.results} == {Outcome.EQUAL}


def test_changed_word_of_the_command_line_is_named_in_old_and_new_form() -> None:
    other = CMDLINE.replace("lockdown=confidentiality", "lockdown=none")
    found = explained(CLEAN, scene(release=image(262, cmdline=other.encode())))
    assert words(found) == [
        "PCR 11: section .cmdline differs: `lockdown=confidentiality` became `lockdown=none`"
    ]
    assert found.findings[0].registers == (11, 4, 9)


def test_changed_command_line_that_nothing_known_explains_is_said_to_be_unknown() -> None:
    found = explained(
        CLEAN, scene(release=image(262, cmdline=b"console=null something=else roothash=" + b"cd" * 32))
    )
    assert len(found.findings) == 1
    assert found.findings[0].registers == (11, 4, 9)
    assert "the log does not hold the new text" in found.findings[0].headline


@pytest.mark.parametrize("section", ["linux", "osrel", "initrd", "uname", "sbat"])
def test_changed_section_is_named(section: str) -> None:
    content = CLEAN.uki.image.content(CLEAN.uki.sections()[f".{section}"])
    altered = bytes([content[0]]) + content[1:-1] + bytes([content[-1] ^ 1])
    changed = image(262, cmdline=CMDLINE.encode(), **{section: altered})
    found = explained(CLEAN, scene(release=changed))
    assert [finding.cause for finding in found.findings] == [Cause.SECTIONS]
    assert f"section .{section} differs" in words(found)[0]


def test_section_that_came_is_named_once() -> None:
    found = explained(CLEAN, scene(release=image(262, cmdline=CMDLINE.encode(), splash=b"BM")))
    assert words(found) == ["PCR 11: section .splash is new"]


def test_command_line_of_smbios_under_secure_boot_is_named() -> None:
    text = "systemd.debug_shell=1"
    found = explained(CLEAN, scene(release=CLEAN.uki, smbios_cmdline=text), [utf16(text)])
    assert words(found) == [
        f"PCR 12: an event that a clean boot does not have: command line from SMBIOS type 11: “{text}”"
    ]
    assert found.findings[0].registers == (12, 9)


def test_load_options_in_place_of_the_command_line_are_told_from_smbios_without_secure_boot() -> None:
    text = "console=ttyS0 init=/bin/sh"
    clean = scene(release=image(262, cmdline=CMDLINE.encode()), secure=False)
    booted = predictions(scene(release=clean.uki, secure=False, load_options=text), secure_boot(state=b"\0"))
    found = explain(expected(clean), observed(booted, [utf16(text), *secure_boot_data(state=b"\0")]))
    assert any(
        "command line from the boot option, in place of the built-in one" in line for line in words(found)
    )
    assert any(line == "PCR 7: Secure Boot is off" for line in words(found))


def test_appended_smbios_text_is_proven_without_secure_boot_by_what_the_kernel_got() -> None:
    text = "quiet"
    clean = scene(release=image(262, cmdline=CMDLINE.encode()), secure=False)
    booted = predictions(
        scene(release=clean.uki, secure=False, smbios_cmdline=text), secure_boot(state=b"\0")
    )
    found = explain(expected(clean), observed(booted, [utf16(text), *secure_boot_data(state=b"\0")]))
    assert any("command line from SMBIOS type 11: “quiet”" in line for line in words(found))


def test_command_line_that_only_a_log_claims_is_said_to_be_claimed() -> None:
    events = [
        replace(event, claimed_text="innocent", claimed_data=b"innocent") if event.register == 12 else event
        for event in logged(predictions(scene(release=CLEAN.uki, smbios_cmdline="quiet")), secure_boot_data())
    ]
    found = explain(expected(CLEAN), account.of_events(events, name="a log that lies", banks=BANKS))
    assert "“innocent”" in words(found)[0]
    assert "the text is what the log says of it" in found.findings[0].details


def test_add_on_is_named_with_its_image_and_its_command_line() -> None:
    text = "rd.break"
    other = addon("debug.addon.efi", {".cmdline": text.encode(), ".sdmagic": b"x"})
    found = explained(CLEAN, scene(release=CLEAN.uki, addons=(other,)), [utf16(text)])
    assert [finding.cause for finding in found.findings] == [Cause.ADDON]
    assert f"command line from an add-on: “{text}”" in words(found)[0]
    assert found.findings[0].registers == (12, 4, 9)


@pytest.mark.parametrize(
    ("kind", "name", "said", "registers"),
    [
        (ExtraKind.CREDENTIAL, "a.cred", "credentials from the EFI system partition", (12, 9)),
        (ExtraKind.SYSEXT, "a.sysext.raw", "system extensions from the EFI system partition", (13, 9)),
    ],
)
def test_file_on_the_system_partition_is_named(
    kind: ExtraKind, name: str, said: str, registers: tuple[int, ...]
) -> None:
    found = explained(
        CLEAN, scene(release=CLEAN.uki, extras=(Extra(kind=kind, name=name, content=b"secret"),))
    )
    assert len(found.findings) == 1
    assert found.findings[0].headline.startswith(f"an event that a clean boot does not have: {said}")
    assert found.findings[0].registers == registers


def test_secure_boot_off_is_one_finding_with_the_missing_authority() -> None:
    booted = predictions(CLEAN, secure_boot(state=b"\0"))
    found = explain(expected(CLEAN), observed(booted, secure_boot_data(state=b"\0")))
    assert words(found) == ["PCR 7: Secure Boot is off"]
    assert any(
        "the db entry that let the image start was never measured" in line
        for line in found.findings[0].details
    )


def test_certificate_that_came_into_db_is_named() -> None:
    booted = predictions(CLEAN, secure_boot(db=("release", "somebody else")))
    data = secure_boot_data(db=("release", "somebody else"))
    found = explain(expected(CLEAN), observed(booted, data))
    assert words(found) == [
        "PCR 7: the Secure Boot keys differ: db newly holds the certificate “CN=somebody else”"
    ]


def test_certificate_that_let_another_image_start_is_named() -> None:
    booted = predictions(CLEAN, secure_boot(db=("somebody else", "release")))
    data = [*secure_boot_data(db=("somebody else", "release")), authority_data("somebody else")]
    found = explain(expected(CLEAN), observed(booted, data))
    assert any(
        "db newly holds the certificate “CN=somebody else”" in line for line in _all(found.findings[0])
    )


def _all(finding: object) -> list[str]:
    return [getattr(finding, "headline", ""), *getattr(finding, "details", ())]


def test_absent_os_separator_is_one_finding_over_all_its_registers() -> None:
    quiet = UserSpace(os_separator=False, phases=("enter-initrd", "leave-initrd"))
    found = explained(CLEAN, scene(release=CLEAN.uki, user_space=quiet))
    assert words(found) == ["PCR 4: the os-separator was never measured"]
    assert found.findings[0].registers == (4, 7, 9, 12, 13, 14)


@pytest.mark.parametrize(
    ("phases", "said"),
    [
        (("enter-initrd",), "PCR 11: the boot phase “leave-initrd” was not reached"),
        (("enter-initrd", "leave-initrd", "sysinit"), "PCR 11: the boot went on to phase “sysinit”"),
    ],
)
def test_phases_that_differ_are_named(phases: tuple[str, ...], said: str) -> None:
    space = UserSpace(os_separator=True, phases=phases)
    assert words(explained(CLEAN, scene(release=CLEAN.uki, user_space=space))) == [said]


def _with(register: int, place: int, *events: Event) -> dict[int, RegisterPrediction]:
    booted = predictions(CLEAN)
    own = booted[register]
    changed = (*own.events[:place], *events, *own.events[place:])
    return {**booted, register: replace(own, events=changed)}


def test_failed_boot_options_are_named() -> None:
    actions = [
        measured(4, text.encode(), type="EV_EFI_ACTION", description=text)
        for text in (
            "Returning from EFI Application from Boot Option",
            "Calling EFI Application from Boot Option",
        )
    ]
    found = explain(expected(CLEAN), observed(_with(4, 2, *actions)))
    assert words(found) == ["PCR 4: the firmware tried a boot option that failed, before the one that worked"]


def test_inner_kernel_of_an_old_stub_is_named_for_what_it_is() -> None:
    old = scene(release=image(257, cmdline=CMDLINE.encode()))
    booted = predictions(scene(release=old.uki, secure=False))
    found = explain(expected(old), observed(booted))
    assert [line for line in words(found) if line.startswith("PCR 4:")] == [
        "PCR 4: the inner kernel was measured too, as stubs up to 257 do while Secure Boot is off"
    ]


def test_other_profile_is_one_finding_with_the_sections_that_it_brings() -> None:
    parts = [
        *synthetic.sections(cmdline=CMDLINE.encode()).items(),
        (".profile", b"ID=main\n"),
        (".profile", b"ID=other\n"),
        (".cmdline", b"console=null x"),
    ]
    profiled = uki.decode(synthetic.uki(parts))
    found = explained(scene(release=profiled), scene(release=profiled, profile=1), [utf16("1")])
    assert [finding.cause for finding in found.findings] == [Cause.PROFILE]
    assert found.findings[0].registers == (12, 9, 11)


def test_partition_that_grew_is_named_with_the_register_of_the_table() -> None:
    old = table(("esp", 40, 99), ("root", 100, 199))
    new = table(("esp", 40, 99), ("root", 100, 299))
    sides = [
        RegisterPrediction(events=(measured(5, data, type="EV_EFI_GPT_EVENT", description="disk"),))
        for data in (old, new)
    ]
    ours = account.with_known(account.of_predictions({5: sides[0]}, name="the release"), [old])
    found = explain(ours, observed({5: sides[1]}, [new]))
    assert words(found) == [
        "PCR 5: the partition table differs: partition “root” of 100 blocks is now 200 blocks"
    ]


def test_boot_variable_that_changed_is_an_alteration_and_not_two_events() -> None:
    sides = [
        RegisterPrediction(events=(measured(1, data, type="EV_EFI_VARIABLE_BOOT", description=str(data)),))
        for data in (b"1", b"2")
    ]
    found = explain(account.of_predictions({1: sides[0]}, name="the release"), observed({1: sides[1]}))
    assert [pair.change.value for pair in found.results[0].changes] == ["altered"]
    assert [finding.cause for finding in found.findings] == [Cause.FIRMWARE]


def test_moved_events_are_said_to_be_moved() -> None:
    booted = predictions(CLEAN)
    own = booted[11]
    swapped = (*own.events[:-2], own.events[-1], own.events[-2])
    found = explain(expected(CLEAN), observed({**booted, 11: replace(own, events=swapped)}))
    assert len(found.findings) == 1
    changes = [pair.change.value for result in found.results for pair in result.changes]
    assert changes == ["moved"]


def test_explanation_as_json_holds_words_and_changes() -> None:
    value = to_value(explained(CLEAN, scene(release=CLEAN.uki, smbios_cmdline="x"), [utf16("x")]))
    assert value["equal"] is False
    registers = value["registers"]
    assert isinstance(registers, dict)
    assert [change["change"] for change in registers["12"]["changes"]] == ["extra"]
    assert registers["12"]["changes"][0]["observed"]["proven"] is True
