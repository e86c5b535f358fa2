# SPDX-License-Identifier: Apache-2.0
"""Tests of what is rare: findings that follow from nothing, texts of artefacts, registers of the firmware."""

from dataclasses import replace

import pytest

from mantlet.explain import account, keys, known
from mantlet.explain.account import Account
from mantlet.explain.explanation import explain
from mantlet.explain.finding import Cause
from mantlet.explain.lanes import lanes
from mantlet.explain.search import Known
from mantlet.predict.boot import Basis, RegisterPrediction, UserSpace
from mantlet.predict.secure_boot import variable_data
from mantlet.predict.signature_lists import SHA256
from mantlet.predict.variables import IMAGE_SECURITY, SecureBootKeys
from mantlet_measure.pcr import BANKS, Event, measured, replay
from mantlet_measure.words import agent_events
from tests.unit.explain.scenes import (
    CMDLINE,
    OWNER,
    expected,
    explained,
    observed,
    predictions,
    scene,
    secure_boot_data,
    signature_lists,
    values,
    words,
)
from tests.unit.predict.boots import addon, image, utf16

CLEAN = scene(release=image(262, cmdline=CMDLINE.encode()))


def changed(register: int, kind: str, data: bytes) -> dict[int, RegisterPrediction]:
    """The clean boot with the one event of this type in a register altered."""
    booted = predictions(CLEAN)
    events = tuple(
        measured(register, data, type=event.type, description=event.description)
        if event.type == kind or event.description.startswith(kind)
        else event
        for event in booted[register].events
    )
    return {**booted, register: replace(booted[register], events=events)}


def test_initrd_that_differs_alone_is_a_finding_with_its_possible_reasons() -> None:
    found = explain(expected(CLEAN), observed(changed(9, "Linux initrd", b"merged")))
    assert words(found) == ["PCR 9: the kernel got another initrd"]
    assert "registered before the stub" in found.findings[0].details[0]


def test_image_that_differs_alone_is_a_finding() -> None:
    found = explain(expected(CLEAN), observed(changed(4, "EV_EFI_BOOT_SERVICES_APPLICATION", b"other")))
    assert words(found) == ["PCR 4: another EFI image was started"]


def test_db_entry_that_differs_alone_is_a_finding() -> None:
    found = explain(expected(CLEAN), observed(changed(7, "EV_EFI_VARIABLE_AUTHORITY", b"other")))
    assert [finding.cause for finding in found.findings] == [Cause.SECURE_BOOT]
    assert "the db entry that let the image start differs" in " ".join(
        [found.findings[0].headline, *found.findings[0].details]
    )


def test_image_that_was_never_started_is_a_finding() -> None:
    booted = predictions(CLEAN)
    events = tuple(event for event in booted[4].events if "APPLICATION" not in event.type)
    found = explain(expected(CLEAN), observed({**booted, 4: replace(booted[4], events=events)}))
    assert words(found)[0].startswith("PCR 4: a started EFI image was never measured")


def test_command_line_of_unknown_origin_is_said_to_be_that() -> None:
    booted = predictions(scene(release=CLEAN.uki, smbios_cmdline="x"))
    nothing = RegisterPrediction(events=())
    sides = {12: booted[12], 7: nothing}
    ours = {12: predictions(CLEAN)[12], 7: nothing}
    found = explain(account.of_predictions(ours, name="the release"), observed(sides, [utf16("x")]))
    assert "SMBIOS type 11 or the boot option (the log does not tell which)" in words(found)[0]


def test_lines_of_a_small_section_are_named_when_both_sides_have_the_text() -> None:
    other = image(262, cmdline=CMDLINE.encode(), osrel=b"ID=debian\nIMAGE_ID=mantlet\nIMAGE_VERSION=0.2.0\n")
    ours, theirs = (
        account.with_known(expected(boot), known.of_sections(boot.uki))
        for boot in (CLEAN, scene(release=other))
    )
    assert words(explain(ours, theirs)) == [
        "PCR 11: section .osrel differs: `IMAGE_VERSION=0.1.0` is gone, `IMAGE_VERSION=0.2.0` is new"
    ]


def test_many_changed_words_stand_below_the_headline() -> None:
    other = CMDLINE.replace("quiet", "loud").replace("null", "ttyS0").replace("confidentiality", "none")
    boot = scene(release=image(262, cmdline=other.encode()))
    ours, theirs = (account.with_known(expected(own), known.of_sections(own.uki)) for own in (CLEAN, boot))
    found = explain(ours, theirs)
    assert words(found)[0].endswith(", and more")
    assert len([line for line in found.findings[0].details if "`" in line]) == 4


def test_add_on_beside_another_image_leaves_the_other_a_finding_of_its_own() -> None:
    other = addon("a.addon.efi", {".cmdline": b"quiet", ".sdmagic": b"x"})
    booted = predictions(scene(release=CLEAN.uki, addons=(other,)))
    events = tuple(event for event in booted[4].events if event.type != "EV_SEPARATOR")
    extra = measured(4, b"x", type="EV_EFI_BOOT_SERVICES_DRIVER", description="")
    mixed = {**booted, 4: replace(booted[4], events=(*events, extra))}
    found = explain(expected(CLEAN), observed(mixed, [utf16("quiet"), *secure_boot_data()]))
    assert {Cause.ADDON, Cause.UNKNOWN} <= {finding.cause for finding in found.findings}


def test_finding_does_not_list_more_than_a_page_holds() -> None:
    booted = predictions(CLEAN)
    extra = tuple(measured(14, bytes([index]), type="x", description=f"thing {index}") for index in range(40))
    found = explain(expected(CLEAN), observed({**booted, 14: replace(booted[14], events=extra)}))
    assert len(found.findings) == 2
    assert len(found.findings[-1].details) == 16
    assert found.findings[-1].details[-1].endswith("lines more")


def single(register: int, *data: bytes, kind: str = "EV_EFI_ACTION") -> RegisterPrediction:
    events: tuple[Event, ...] = tuple(
        measured(register, item, type=kind, description=item.decode("ascii", "replace")) for item in data
    )
    return RegisterPrediction(events=events)


def searched(register: int, ours: RegisterPrediction, theirs: RegisterPrediction) -> list[str]:
    return words(explain(account.of_predictions({register: ours}, name="-"), values({register: theirs})))


def test_kernel_that_failed_to_leave_the_boot_services_is_found() -> None:
    leave, failed = b"Exit Boot Services Invocation", b"Exit Boot Services Returned with Failure"
    done = b"Exit Boot Services Returned with Success"
    assert searched(5, single(5, leave, done), single(5, leave, failed, leave, done)) == [
        "PCR 5: the kernel failed 1 time(s) to leave the boot services"
    ]


def test_os_separator_that_was_measured_is_found() -> None:
    quiet = UserSpace(os_separator=False, phases=SPACE_PHASES)
    found = explain(expected(scene(release=CLEAN.uki, user_space=quiet)), values(predictions(CLEAN)))
    assert words(found) == ["PCR 4: the os-separator was measured"]


SPACE_PHASES = ("enter-initrd", "leave-initrd")


def test_startup_at_another_locality_is_found() -> None:
    ours = single(0, b"firmware")
    digests = ours.events[0].digests
    by_bank = {bank: {0: replay(bank, [digests[bank]], start=bytes(bank.size - 1) + b"\3")} for bank in BANKS}
    found = explain(account.of_predictions({0: ours}, name="-"), account.of_values(by_bank, name="-"))
    assert words(found) == ["PCR 0: the TPM was started at locality 3"]


def test_another_release_that_had_not_come_to_its_end_is_found() -> None:
    release = replace(account.of_predictions({13: single(13, b"a", b"b")}, name="-"), name="mantlet 2")
    ours = account.of_predictions({13: single(13, b"x")}, name="-")
    found = explain(ours, values({13: single(13, b"a")}), Known(accounts=(release,)))
    assert words(found) == ["PCR 13: the value is that of mantlet 2, before all of it was measured"]


def test_release_that_a_log_is_of_is_recognised_and_lends_its_texts() -> None:
    other = scene(release=image(262, cmdline=b"console=null something=else roothash=" + b"cd" * 32))
    release = replace(expected(other), name="mantlet 2")
    found = explain(expected(CLEAN), observed(predictions(other)), Known(accounts=(release,)))
    assert "4, 9, 11: the observed values are those of mantlet 2" in found.notes
    assert "`quiet` is gone" in " ".join([found.findings[0].headline, *found.findings[0].details])


def test_recorded_and_unpredictable_registers_are_noted() -> None:
    told = {
        0: replace(single(0, b"firmware"), basis=Basis.RECORDED, reason="a boot"),
        1: RegisterPrediction(events=(), basis=Basis.UNPREDICTABLE, reason="nobody knows"),
    }
    found = explain(account.of_predictions(told, name="-"), values({0: single(0, b"other firmware")}))
    assert found.notes[0] == "register 1 is not predicted: nobody knows"
    assert found.notes[1].startswith("0: recorded from a boot, not computed")


def test_empty_account_takes_no_texts_and_no_words() -> None:
    empty = Account(name="-", registers={})
    assert account.with_known(empty, [b"x"]) == empty
    assert account.with_words(empty, ()) == empty


def test_texts_of_the_firmware_variables_are_attached_by_their_digests() -> None:
    lists = [signature_lists(name) for name in ("PK", "KEK", "release")]
    texts = known.of_keys(SecureBootKeys(pk=lists[0], kek=lists[1], db=lists[2], dbx=b""))
    bare = account.of_predictions(predictions(CLEAN), name="-")
    told = account.with_known(bare, texts).registers[7].events or ()
    assert [entry.data is not None for entry in told][:5] == [True] * 5


def test_kernel_that_is_no_efi_image_is_no_possible_event() -> None:
    assert known.inner_kernel(image(262, linux=b"MZ no image"), BANKS) == ()


def test_profiles_need_the_expected_sections() -> None:
    assert list(known.profiles(CLEAN.uki, Account(name="-", registers={}))) == []
    signed = image(262, cmdline=CMDLINE.encode(), pcrsig=b"{}")
    assert list(known.profiles(signed, expected(scene(release=signed)))) == []


def test_lane_of_register_15_names_the_words() -> None:
    base = account.of_values({bank: {15: bytes(bank.size)} for bank in BANKS}, name="-")
    said = agent_events(
        deployment_sha256=bytes(32), runtime_sha256=bytes(32), root_hash=bytes(32), capped=True
    )
    found = explain(account.with_words(base, said), account.with_words(base, said[:-1]))
    assert words(found)[0].startswith("PCR 15: the word `cap` was not extended: the machine is not capped")
    assert [box.label for box in lanes(found)[0].expected] == ["deployment", "runtime", "weights", "cap"]


def hashes(*digests: bytes, kind: bytes = SHA256.bytes_le) -> bytes:
    """A variable dbx of one list of these 32-byte entries."""
    body = b"".join(OWNER.bytes_le + digest for digest in digests)
    sizes = (28 + len(body)).to_bytes(4, "little") + bytes(4) + (48).to_bytes(4, "little")
    return variable_data(IMAGE_SECURITY, "dbx", kind + sizes + body)


def test_hashes_of_dbx_are_named_and_long_lists_are_counted() -> None:
    assert keys.difference(hashes(bytes(32)), hashes(bytes(32), b"\1" * 32)) == (
        f"dbx newly holds the hash {'01' * 8}…",
    )
    many = keys.difference(hashes(bytes(32)), hashes(*(bytes([index]) * 32 for index in range(1, 21))))
    assert many[-1] == "dbx: 1 entries are gone and 20 are new in all"


@pytest.mark.parametrize(
    ("kind", "said"),
    [(bytes(16), "a signature of type 0000"), (keys.X509.bytes_le, "a certificate that cannot")],
)
def test_entry_of_another_kind_is_called_that(kind: bytes, said: str) -> None:
    assert said in keys.difference(None, hashes(bytes(32), kind=kind))[0]


def test_authority_that_is_too_short_has_no_name() -> None:
    assert keys.authority(variable_data(IMAGE_SECURITY, "db", bytes(16))) == ""
    assert keys.authority(b"junk") == ""


def test_state_of_secure_boot_that_means_nothing_is_shown_as_it_is() -> None:
    assert keys.difference(None, secure_boot_data(state=b"\7\7")[0]) == ("SecureBoot is 0707",)
    assert keys.difference(secure_boot_data()[0], None) == ()
    assert keys.difference(None, variable_data(IMAGE_SECURITY, "Boot0000", b"")) == ()


def test_equal_sides_in_another_bank_order_are_equal() -> None:
    assert explained(CLEAN, CLEAN).equal
