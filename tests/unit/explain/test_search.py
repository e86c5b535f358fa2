# SPDX-License-Identifier: Apache-2.0
"""Tests of the search: a value without a history is explained by a known change, or honestly by none."""

from dataclasses import replace

import pytest

from mantlet.explain import account, known
from mantlet.explain.account import Account
from mantlet.explain.candidates import Insertion
from mantlet.explain.explanation import Explanation, explain
from mantlet.explain.search import Known
from mantlet.predict import uki
from mantlet.predict.boot import Boot, UserSpace
from mantlet_measure.errors import MantletError
from mantlet_measure.pcr import BANKS, Bank
from mantlet_measure.words import CAP, agent_events
from tests.unit.explain.scenes import CMDLINE, expected, predictions, scene, secure_boot, values, words
from tests.unit.predict import synthetic
from tests.unit.predict.boots import image

CLEAN = scene(release=image(262, cmdline=CMDLINE.encode()))


def searched(other: Boot, clean: Boot = CLEAN, own: Known | None = None) -> Explanation:
    return explain(expected(clean), values(predictions(other)), own)


@pytest.mark.parametrize(
    ("space", "said", "registers"),
    [
        (
            UserSpace(os_separator=False, phases=("enter-initrd", "leave-initrd")),
            "PCR 4: the os-separator is absent",
            (4, 7, 9, 12, 13, 14),
        ),
        (
            UserSpace(os_separator=True, phases=("enter-initrd",)),
            "PCR 11: the boot phase “leave-initrd” was not reached",
            (11,),
        ),
        (
            UserSpace(os_separator=True, phases=("enter-initrd", "leave-initrd", "sysinit", "ready")),
            "PCR 11: the boot went on to phase “sysinit” and the boot went on to phase “ready”",
            (11,),
        ),
    ],
)
def test_other_end_of_the_boot_is_found(space: UserSpace, said: str, registers: tuple[int, ...]) -> None:
    found = searched(scene(release=CLEAN.uki, user_space=space))
    assert words(found) == [said]
    assert found.findings[0].registers == registers


def test_changed_command_line_is_found_with_the_registers_that_follow() -> None:
    other = CMDLINE.replace("lockdown=confidentiality", "lockdown=none")
    found = searched(scene(release=image(262, cmdline=other.encode())))
    assert words(found) == [
        "PCR 11: section .cmdline differs: `lockdown=confidentiality` became `lockdown=none`"
    ]
    assert found.findings[0].registers == (11, 4, 9)


def test_known_command_line_from_outside_is_found() -> None:
    found = searched(scene(release=CLEAN.uki, smbios_cmdline="systemd.debug_shell=1"))
    assert len(found.findings) == 1
    assert found.findings[0].registers == (12, 9)
    assert "“systemd.debug_shell=1” from outside the UKI" in words(found)[0]


@pytest.mark.parametrize(
    ("state", "db", "said"),
    [
        (b"\0", ("release",), "PCR 7: Secure Boot is off, with the same keys"),
        (b"\0", (), "PCR 7: Secure Boot is off: the firmware is in setup mode, without keys"),
    ],
)
def test_secure_boot_off_is_found(state: bytes, db: tuple[str, ...], said: str) -> None:
    booted = predictions(CLEAN, secure_boot(state=state, db=db))
    assert words(explain(expected(CLEAN), values(booted))) == [said]


def test_failed_boot_option_is_found() -> None:
    found = _values_with(
        4, 2, b"Returning from EFI Application from Boot Option", b"Calling EFI Application from Boot Option"
    )
    assert words(explain(expected(CLEAN), found)) == [
        "PCR 4: the firmware tried 1 boot option(s) that failed first"
    ]


def _values_with(register: int, place: int, *data: bytes) -> Account:
    """The values of the clean boot after more data was measured into a register."""
    clean = expected(CLEAN)
    events = clean.registers[register].events
    assert events is not None
    held = {number: dict(own.values) for number, own in clean.registers.items()}
    for bank in BANKS:
        digests = [entry.digests[bank] for entry in events]
        digests[place:place] = [bank.digest(item) for item in data]
        held[register][bank] = _fold(bank, digests)
    by_bank = {bank: {number: own[bank] for number, own in held.items()} for bank in BANKS}
    return account.of_values(by_bank, name="the values")


def _fold(bank: Bank, digests: list[bytes]) -> bytes:
    value = bytes(bank.size)
    for digest in digests:
        value = bank.digest(value + digest)
    return value


def test_inner_kernel_is_found_when_the_uki_is_at_hand() -> None:
    old = scene(release=image(257, cmdline=CMDLINE.encode()))
    booted = values(predictions(scene(release=old.uki, secure=False)))
    own = Known(insertions=known.inner_kernel(old.uki, BANKS))
    found = [line for line in words(explain(expected(old), booted, own)) if line.startswith("PCR 4:")]
    assert found == [
        "PCR 4: the inner kernel was measured too, as stubs up to 257 do while Secure Boot is off"
    ]
    without = [line for line in words(explain(expected(old), booted)) if line.startswith("PCR 4:")]
    assert "known changes explains it" in without[0]


def test_other_profile_is_found_when_the_uki_is_at_hand() -> None:
    parts = [
        *synthetic.sections(cmdline=CMDLINE.encode()).items(),
        (".profile", b"ID=main\n"),
        (".profile", b"ID=other\n"),
        (".cmdline", b"console=null x"),
    ]
    profiled = scene(release=uki.decode(synthetic.uki(parts)))
    own = Known(accounts=tuple(known.profiles(profiled.uki, expected(profiled))))
    found = searched(scene(release=profiled.uki, profile=1), profiled, own)
    assert "PCR 11: the value is that of profile 1 of the UKI" in words(found)


def test_another_release_is_found() -> None:
    other = scene(release=image(262, cmdline=CMDLINE.encode(), initrd=b"another initrd, of another release"))
    release = replace(expected(other), name="mantlet 2 on qemu-ovmf")
    found = searched(other, own=Known(accounts=(release,)))
    assert words(found) == ["PCR 4: the value is that of mantlet 2 on qemu-ovmf"]
    assert found.findings[0].registers == (4, 9, 11)


@pytest.mark.parametrize(("fill", "said"), [(0, "the register is zero"), (0xFF, "the register is all ones")])
def test_register_that_nothing_extended_is_named(fill: int, said: str) -> None:
    booted = values(predictions(CLEAN))
    registers = {
        **booted.registers,
        11: replace(booted.registers[11], values={bank: bytes([fill]) * bank.size for bank in BANKS}),
    }
    found = explain(expected(CLEAN), replace(booted, registers=registers))
    assert words(found)[0].startswith(f"PCR 11: {said}")


def test_swapped_registers_are_named() -> None:
    booted = values(predictions(CLEAN))
    registers = {**booted.registers, 9: booted.registers[11], 11: booted.registers[9]}
    found = words(explain(expected(CLEAN), replace(booted, registers=registers)))
    assert len(found) == 2
    assert all("they are swapped" in line for line in found)


def test_value_that_no_known_change_makes_is_said_to_be_unexplained() -> None:
    found = _values_with(13, 0, b"something that nobody knows")
    line = words(explain(expected(CLEAN), found))[0]
    assert line.startswith("PCR 13: the value differs, and none of ")
    assert line.endswith(" known changes explains it")


def test_change_in_one_bank_alone_is_not_explained_by_a_change_of_both() -> None:
    booted = values(
        predictions(scene(release=CLEAN.uki, user_space=UserSpace(os_separator=False, phases=())))
    )
    clean = values(predictions(CLEAN))
    mixed = {
        Bank.SHA256: booted.registers[9].values[Bank.SHA256],
        Bank.SHA384: clean.registers[9].values[Bank.SHA384],
    }
    registers = {**clean.registers, 9: replace(clean.registers[9], values=mixed)}
    found = explain(expected(CLEAN), replace(clean, registers=registers))
    assert "known changes explains it" in words(found)[0]


@pytest.mark.parametrize("capped", [True, False])
def test_cap_that_is_there_or_not_is_found(capped: bool) -> None:
    words_of = {
        state: agent_events(
            deployment_sha256=bytes(32), runtime_sha256=bytes(32), root_hash=bytes(32), capped=state
        )
        for state in (True, False)
    }
    base = account.of_values({bank: {15: bytes(bank.size)} for bank in BANKS}, name="-")
    ours = account.with_words(base, words_of[not capped])
    theirs = account.with_words(base, words_of[capped])
    observed = account.of_values({bank: {15: theirs.registers[15].values[bank]} for bank in BANKS}, name="-")
    found = words(explain(ours, observed))
    said = "the machine is capped" if capped else f"the boot stopped before the agent's word “{CAP}”"
    assert found == [f"PCR 15: {said}"]


def test_insertion_at_any_place_is_found() -> None:
    insertion = Insertion(register=13, words="a thing that may happen", step=b"thing")
    found = explain(expected(CLEAN), _values_with(13, 0, b"thing"), Known(insertions=(insertion,)))
    assert words(found) == ["PCR 13: a thing that may happen"]


def test_accounts_without_a_bank_in_common_are_refused() -> None:
    other = account.of_values({Bank.SHA512: {11: bytes(64)}}, name="the values")
    with pytest.raises(MantletError, match="expected values of sha256, sha384") as refusal:
        explain(expected(CLEAN), other)
    assert refusal.value.hint
